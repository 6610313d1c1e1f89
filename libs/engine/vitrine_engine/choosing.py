"""Which engine a service uses: the one that the operator names, or the best that this machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vitrine_engine.protocol import Engine, Isolation, StartError

EngineName = Literal["auto", "process", "docker"]
BASE_IMAGE = "python:3.11-slim-bookworm"
"""Image in which the docker engine runs environments that have none themselves, unless told otherwise."""


async def open_engine(name: EngineName, state_dir: Path, base_image: str) -> tuple[Engine, Isolation]:
    """Return an engine that works, and what it guarantees; close it.

    `auto` is the process engine where sandboxes start with it, else the docker engine. `state_dir` is the
    engine's own; `base_image` is for the docker engine. Raises `StartError` where none works, saying why.
    """
    if name != "auto":
        return await _probed(name, state_dir, base_image)
    try:
        return await _probed("process", state_dir, base_image)
    except StartError as process:
        try:
            return await _probed("docker", state_dir, base_image)
        except StartError as docker:
            raise StartError(f"no engine works here. Process: {process} Docker: {docker}") from process


async def _probed(name: str, state_dir: Path, base_image: str) -> tuple[Engine, Isolation]:
    engine = _make(name, state_dir, base_image)
    try:
        return engine, await engine.probe()
    except BaseException:
        await engine.aclose()
        raise


def _make(name: str, state_dir: Path, base_image: str) -> Engine:
    # Imported here: a service pays for the engine that it uses.
    if name == "docker":
        from vitrine_engine.docker import DockerEngine

        return DockerEngine(state_dir, base_image=base_image)
    from vitrine_engine.process import ProcessEngine

    return ProcessEngine(state_dir)
