"""Which image a sandbox runs in, and making a base image fit for it."""

from __future__ import annotations

import asyncio
import io
import secrets
import sys
import tarfile

from vitrine_engine.docker.container import ENGINE_LABEL, PYTHON
from vitrine_engine.docker.daemon import Daemon, DaemonError
from vitrine_engine.protocol import SandboxSpec, StartError

PREFIXES = ("/usr/local", "/usr")
"""Where images keep their Python: Docker's official ones, and Debian's."""
REPOSITORY = "vitrine/base"
WITH_BYTECODE = "-bytecode"
"""Ends the name of an image that has bytecode, too; it follows the one without, and starts Python faster."""


class Images:
    """Images of one daemon. `base` is a reference; `tag` labels what is made on the way."""

    def __init__(self, daemon: Daemon, base: str, tag: str) -> None:
        self._daemon = daemon
        self._base = base
        self._tag = tag
        self._making = asyncio.Lock()

    async def choose(self, spec: SandboxSpec) -> tuple[str, bool]:
        """Return the image for a sandbox, and whether the environment's directory is shown in it."""
        if spec.image is not None:
            found = await self._daemon.image_id(f"{spec.image}{WITH_BYTECODE}")
            found = found or await self._daemon.image_id(spec.image)
            if found is not None:
                return found, False
            if spec.environment is None:
                raise StartError(f"the Docker daemon has no image {spec.image}; build the version again")
        if spec.system is not None:
            raise StartError(
                "this environment has system packages, which the docker engine runs from an image only; "
                "let the builder make images (VITRINE_BUILDER_IMAGES=docker) and build the version again"
            )
        return await self.base(), True

    async def base(self) -> str:
        """Return the id of the base image with Python at `/opt/python`; raises `StartError`."""
        async with self._making:
            found = await self._daemon.image_id(self._base) or await self._pulled()
            made = f"{REPOSITORY}:{found.removeprefix('sha256:')[:32]}"
            return await self._daemon.image_id(made) or await self._with_python(found, made)

    async def _pulled(self) -> str:
        try:
            await self._daemon.pull(self._base)
        except DaemonError as error:
            raise StartError(
                f"the base image {self._base} is not in the Docker daemon and cannot be fetched ({error}); "
                "name one that is there: VITRINE_RUNNER_BASE_IMAGE, VITRINE_TRAINER_BASE_IMAGE"
            ) from error
        found = await self._daemon.image_id(self._base)
        if found is None:
            raise StartError(f"the base image {self._base} was fetched, but the Docker daemon lacks it")
        return found

    async def _with_python(self, image: str, name: str) -> str:
        """Make an image that has `/opt/python`, and keep it under `name`."""
        config = {"Image": image, "Cmd": ["true"], "Labels": {ENGINE_LABEL: self._tag}}
        container = await self._daemon.create(f"vitrine-{self._tag}-base-{secrets.token_hex(4)}", config)
        try:
            if not await self._daemon.holds(container, PYTHON):
                await self._daemon.put(container, await self._link(container))
            repository, _, tag = name.rpartition(":")
            await self._daemon.commit(container, repository, tag)
        finally:
            await self._daemon.remove_surely(container)
        return await self._daemon.image_id(name) or image

    async def _link(self, container: str) -> bytes:
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for prefix in PREFIXES:
            if await self._daemon.holds(container, f"{prefix}/bin/{name}"):
                return _archive("opt/python", prefix)
        raise StartError(f"the base image {self._base} has no {name}; choose one that has it")


def _archive(path: str, target: str) -> bytes:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(entry)
    return stream.getvalue()
