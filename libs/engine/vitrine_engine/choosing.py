"""Which engine a service uses: the one that the operator names, or the best that this machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from vitrine_engine.protocol import Engine, Isolation, StartError
from vitrine_engine.zygotes import ZygotePolicy

EngineName = Literal["auto", "process", "docker"]
BASE_IMAGE = "python:3.11-slim-bookworm"
"""Image in which the docker engine runs environments that have none themselves, unless told otherwise."""


async def open_engine(
    name: EngineName,
    state_dir: Path,
    base_image: str,
    *,
    bundles: Path | None = None,
    zygotes: ZygotePolicy | None = None,
) -> tuple[Engine, Isolation]:
    """Return an engine that works, and what it guarantees; close it.

    `auto` is the process engine where sandboxes start with it, else the docker engine. `state_dir` is the
    engine's own; `base_image` is for the docker engine; `zygotes` for the process engine, whose sandboxes may
    share one if their bundles lie below `bundles`. Raises `StartError` where none works, saying why.
    """

    def make(kind: str) -> Engine:
        # Imported here: a service pays for the engine that it uses.
        if kind == "docker":
            from vitrine_engine.docker import DockerEngine

            return DockerEngine(state_dir, base_image=base_image)
        from vitrine_engine.process import ProcessEngine

        return ProcessEngine(state_dir, bundles=bundles, zygotes=zygotes)

    if name != "auto":
        return await _probed(make, name)
    try:
        return await _probed(make, "process")
    except StartError as process:
        try:
            return await _probed(make, "docker")
        except StartError as docker:
            raise StartError(f"no engine works here. Process: {process} Docker: {docker}") from process


async def _probed(make: Callable[[str], Engine], name: str) -> tuple[Engine, Isolation]:
    engine = make(name)
    try:
        return engine, await engine.probe()
    except BaseException:
        await engine.aclose()
        raise
