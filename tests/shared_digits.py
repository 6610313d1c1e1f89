"""The digits example, trained and shared once for every test that uses it, and digits that it never saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stack_desk import EXAMPLES, StackDesk


@dataclass(frozen=True)
class Digits:
    """The example as it was trained, registered and shared."""

    trial: dict[str, Any]
    version: dict[str, Any]
    link: dict[str, Any]
    environment: Path


@dataclass(frozen=True)
class Drawn:
    """One held-out digit."""

    file: Path
    label: str


@pytest.fixture(scope="session")
def digits(stack: StackDesk) -> Digits:
    """The digits example, trained by the platform."""
    trial, version = stack.train(EXAMPLES / "digits")
    digest = trial["environment_digest"].removeprefix("sha256:")
    environment = stack.data / "environments" / digest
    return Digits(trial, version, stack.share(version["reference"], label="for reviewers"), environment)


@pytest.fixture(scope="session")
def heldout(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> list[Drawn]:
    """Every digit of the held-out split, drawn by the example's own script with the trained environment."""
    folder = tmp_path_factory.mktemp("heldout")
    packages = digits.environment / "lib/python3.11/site-packages"
    python = Path(sys.base_prefix) / "bin/python3.11"
    subprocess.run(
        [python, "heldout.py", "--out", folder, "--all"],
        cwd=EXAMPLES / "digits",
        env={**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
    )
    labels = json.loads((folder / "labels.json").read_text())
    return [Drawn(folder / name, str(label)) for name, label in labels.items()]
