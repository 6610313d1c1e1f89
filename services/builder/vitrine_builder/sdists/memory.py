"""What is known of source distributions, and the wheels that were built of them, in the builder's folders."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from vitrine_builder.workspace import Workspace


def memory(workspace: Workspace) -> Path:
    """Return the folder of it all: `<key>.json`, and `wheels/<SHA-256>/<file name>`."""
    return workspace.root / ".builder" / "built"


def wheel_folder(workspace: Workspace, digest: str) -> Path:
    """Return the folder that the wheel `sha256:…` has, or would have."""
    return memory(workspace) / "wheels" / digest.removeprefix("sha256:")


def built_wheel(workspace: Workspace, digest: str) -> Path | None:
    """Return the folder with the wheel `sha256:…` that was built here, or None."""
    folder = wheel_folder(workspace, digest)
    return folder if folder.is_dir() else None


def recall(workspace: Workspace, key: str) -> dict[str, Any] | None:
    """Return what was remembered under `key`; None also for what a full disk cut short."""
    try:
        kept = json.loads((memory(workspace) / f"{key}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def remember(workspace: Workspace, key: str, value: dict[str, Any]) -> None:
    """Keep `value` under `key`, a digest of all that it follows from."""
    memory(workspace).mkdir(parents=True, exist_ok=True)
    place = memory(workspace) / f"{key}.json"
    draft = place.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    draft.write_text(json.dumps(value))
    draft.replace(place)


def remember_origin(workspace: Workspace, wheel: str, environment: str) -> None:
    """Keep in which environment a wheel was built."""
    remember(workspace, _origin(wheel), {"environment": environment})


def origin(workspace: Workspace, wheel: str) -> str | None:
    """Return the digest of the environment in which the wheel `sha256:…` was built here, or None."""
    kept = recall(workspace, _origin(wheel))
    return str(kept["environment"]) if kept else None


def _origin(wheel: str) -> str:
    return f"origin-{wheel.removeprefix('sha256:')}"
