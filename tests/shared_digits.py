"""What tests know of the trained and shared digits example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
