"""The docker engine: sandboxes as containers of a Docker daemon."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitrine_engine import checks
from vitrine_engine.choosing import BASE_IMAGE
from vitrine_engine.docker import isolation
from vitrine_engine.docker.container import ENGINE_LABEL, Recipe, size_of
from vitrine_engine.docker.daemon import Daemon, DaemonError
from vitrine_engine.docker.images import Images
from vitrine_engine.docker.sandbox import DockerSandbox
from vitrine_engine.process.layout import Layout
from vitrine_engine.protocol import Isolation, SandboxSpec, StartError
from vitrine_engine.zygotes import EngineFigures

USER_IDS = (1 << 30, 1 << 29)
"""First user id for sandboxes and how many, where containers share the host's user namespace."""
REMAPPED_USER_IDS = (2000, 60000)
"""The same where the daemon maps the ids of containers (userns-remap, rootless): there are 65536."""
TIDY_SECONDS = 5.0
SWEEPS, SWEEP_SECONDS = 20, 0.1
"""How often an engine that closes looks for containers that are left, and the pause between."""


class DockerEngine:
    """Implements `Engine` with the Docker daemon at `url` (the standard one without it).

    The daemon must see this host's directories under the same paths; it may run as root or rootless.
    `state_dir` belongs to this engine alone while it lives (`StartError` otherwise); containers that a
    killed engine left are removed by the next one on the same directory. `base_image` is what sandboxes
    run in whose environment is not an image itself.
    """

    name = "docker"

    def __init__(self, state_dir: Path, *, url: str | None = None, base_image: str = BASE_IMAGE) -> None:
        self._layout = Layout(state_dir)
        self._cells = self._layout.root / "cells"
        self._daemon = Daemon(url)
        self._images = Images(self._daemon, base_image, self._layout.tag)
        self._sandboxes: dict[str, DockerSandbox] = {}
        self._starting: set[str] = set()
        self._uids: dict[str, int] = {}
        self._info: Mapping[str, Any] | None = None
        self._opening = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """Where the daemon listens."""
        return self._daemon.url

    async def probe(self) -> Isolation:
        """Start a sandbox, look around in it, and report; see `Engine.probe`."""
        return await isolation.probe(self, await self._open())

    async def start(self, spec: SandboxSpec) -> DockerSandbox:
        """Make a sandbox; see `Engine.start`."""
        if self._closed:
            raise StartError("the engine has been closed")
        checks.check_spec(spec)
        if spec.id in self._sandboxes or spec.id in self._starting:
            raise ValueError(f"sandbox {spec.id} is running already")
        self._starting.add(spec.id)
        try:
            return await self._launch(spec)
        except DaemonError as error:
            raise StartError(str(error)) from error
        finally:
            self._starting.discard(spec.id)

    async def warm(self, spec: SandboxSpec) -> None:
        """Nothing to do: containers share nothing; see `Engine.warm`."""

    def figures(self) -> EngineFigures:
        """Nothing: containers are sandboxes; see `Engine.figures`."""
        return EngineFigures()

    async def aclose(self) -> None:
        """Stop every sandbox; see `Engine.aclose`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(sandbox.stop() for sandbox in list(self._sandboxes.values())))
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait({self._tidying})
        if self._info is not None:
            await self._sweep()
        await self._daemon.aclose()
        self._layout.close()

    async def _open(self) -> Mapping[str, Any]:
        """Reach the daemon for the first time, and remove what a killed engine left."""
        async with self._opening:
            if self._info is None:
                try:
                    info = await self._daemon.info()
                    for left in await self._daemon.labelled(f"{ENGINE_LABEL}={self._layout.tag}"):
                        await self._daemon.remove(str(left["Id"]))
                except DaemonError as error:
                    raise StartError(str(error)) from error
                shutil.rmtree(self._cells, ignore_errors=True)
                self._tidying = asyncio.create_task(self._tidy(), name="remove containers")
                self._info = info
            return self._info

    async def _sweep(self) -> None:
        """Look whether every container is gone: a busy daemon may refuse to remove one, or take its time."""
        with contextlib.suppress(DaemonError):
            for _ in range(SWEEPS):
                left = await self._daemon.labelled(f"{ENGINE_LABEL}={self._layout.tag}")
                if not left:
                    return
                for container in left:
                    await self._daemon.remove_surely(str(container["Id"]))
                await asyncio.sleep(SWEEP_SECONDS)

    async def _launch(self, spec: SandboxSpec) -> DockerSandbox:
        info = await self._open()
        image, shows_environment = await self._images.choose(spec)
        recipe = Recipe(
            spec=spec,
            image=image,
            shows_environment=shows_environment,
            bundle_bytes=await asyncio.to_thread(size_of, spec.bundle),
            uid=self._take_uid(spec.id, info),
            tag=self._layout.tag,
            harness=self._layout.harness,
            bare=self._layout.bare,
            empty=self._layout.empty,
        )
        sandbox = DockerSandbox(
            recipe,
            daemon=self._daemon,
            directory=self._cells / spec.id,
            spool=self._layout.spool / spec.id,
            on_gone=self._forget,
        )
        self._sandboxes[spec.id] = sandbox
        await sandbox.open()
        return sandbox

    def _take_uid(self, sandbox_id: str, info: Mapping[str, Any]) -> int:
        """Choose a user that no other sandbox has: at random, as engines do not know each other."""
        options = " ".join(info.get("SecurityOptions") or ())
        remapped = "name=userns" in options or "name=rootless" in options
        first, count = REMAPPED_USER_IDS if remapped else USER_IDS
        while True:
            uid = first + secrets.randbelow(count)
            if uid not in self._uids.values():
                self._uids[sandbox_id] = uid
                return uid

    def _forget(self, sandbox: DockerSandbox) -> None:
        self._sandboxes.pop(sandbox.id, None)
        self._uids.pop(sandbox.id, None)
        with contextlib.suppress(OSError):
            shutil.rmtree(self._layout.spool / sandbox.id)

    async def _tidy(self) -> None:
        """Remove, once the daemon answers again, the containers that it could not be asked to remove."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            for container in list(self._daemon.leftovers):
                await self._daemon.remove_surely(container)
