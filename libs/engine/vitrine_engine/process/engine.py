"""The process engine: starts sandboxes, finds out what isolation this machine allows."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import math
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from vitrine_engine import checks
from vitrine_engine.process import bubblewrap, isolation
from vitrine_engine.process.admission import Admission
from vitrine_engine.process.cgroups import Cgroups, Group
from vitrine_engine.process.layout import Layout
from vitrine_engine.process.nest import Nest
from vitrine_engine.process.nests import Nests, Shelter
from vitrine_engine.process.sandbox import ProcessSandbox
from vitrine_engine.protocol import GIB, Isolation, SandboxSpec, StartError
from vitrine_engine.zygotes import EngineFigures, ZygotePolicy

JOIN = 'umask 022; while [ "$1" != -- ]; do echo $$ > "$1" || exit 96; shift; done; shift; exec "$@"'
"""Joins control groups, then becomes the launcher: nothing of a sandbox ever runs outside of them."""
NEST_MEMORY = 4 * GIB
"""Limit of a nest's own processes: the zygote, and its forks until they are under their sandbox's limits."""
NEST_PROCESSES = 4096
NEST_CPUS = 2.0
USER_IDS = (1 << 30, 1 << 29)
"""First host uid for sandboxes and how many, where the service runs as root with all ids to give."""


class ProcessEngine:
    """Implements `Engine` with bubblewrap.

    `state_dir` belongs to this engine alone while it lives (`StartError` otherwise); what a killed engine
    left there, and in control groups, is removed by the next one. `bwrap` names the launcher. Sandboxes whose
    bundle lies below `bundles` and that name an owner share a nest with others of that owner and environment,
    with a zygote as `zygotes` allows.
    """

    name = "process"

    def __init__(
        self,
        state_dir: Path,
        *,
        bwrap: str | None = None,
        bundles: Path | None = None,
        zygotes: ZygotePolicy | None = None,
    ) -> None:
        found = shutil.which(bwrap or "bwrap")
        if found is None:
            raise StartError("bubblewrap is missing: install it (apt-get install bubblewrap)")
        self._bwrap = found
        self._bundles = bundles.resolve() if bundles is not None else None
        self._layout = Layout(state_dir)
        self._cgroups = Cgroups(self._layout.tag)
        self._admission = Admission()
        self._as_root = os.geteuid() == 0
        self._sandboxes: dict[str, ProcessSandbox] = {}
        self._starting: set[str] = set()
        self._nests: dict[str, Nest] = {}
        self._uids: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._shelters = Nests(self._launch_shared, zygotes or ZygotePolicy(), self._layout.learned)
        self._closed = False

    async def probe(self) -> Isolation:
        """Start a sandbox, look around in it, and report; see `Engine.probe`."""
        return await isolation.probe(self, self._cgroups, as_root=self._as_root)

    async def start(self, spec: SandboxSpec) -> ProcessSandbox:
        """Make a sandbox; see `Engine.start`."""
        self._check(spec)
        self._starting.add(spec.id)
        try:
            return await self._launch(spec)
        finally:
            self._starting.discard(spec.id)

    @property
    def shelters(self) -> list[Shelter]:
        """The nests that sandboxes share."""
        return self._shelters.shelters

    async def warm(self, spec: SandboxSpec) -> None:
        """Have a zygote ready for sandboxes like this one; see `Engine.warm`."""
        self._check(spec)
        if self._shares(spec):
            await self._shelters.warm(_key(spec), spec)

    def figures(self) -> EngineFigures:
        """Return what the zygotes are; see `Engine.figures`."""
        return EngineFigures(zygotes=tuple(self._shelters.figures()))

    async def aclose(self) -> None:
        """Stop every sandbox; see `Engine.aclose`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(sandbox.stop() for sandbox in list(self._sandboxes.values())))
        await self._shelters.aclose()
        await asyncio.gather(*(nest.stop() for nest in list(self._nests.values())))
        self._admission.close()
        self._layout.close()

    def _check(self, spec: SandboxSpec) -> None:
        if self._closed:
            raise StartError("the engine has been closed")
        checks.check_spec(spec)
        if spec.id in self._sandboxes or spec.id in self._starting:
            raise ValueError(f"sandbox {spec.id} is running already")

    def _shares(self, spec: SandboxSpec) -> bool:
        """Whether sandboxes of a spec may live in one nest with others of its owner."""
        return (
            spec.owner is not None
            and spec.environment is not None
            and self._bundles is not None
            and (spec.bundle is None or spec.bundle.resolve().is_relative_to(self._bundles))
        )

    async def _launch(self, spec: SandboxSpec) -> ProcessSandbox:
        limits = spec.limits
        try:
            group = self._cgroups.create(
                spec.id, memory_bytes=limits.memory_bytes, processes=limits.processes, cpus=limits.cpus
            )
        except OSError as error:
            raise StartError(f"no control group for sandbox {spec.id}: {error}") from error
        try:
            shelter, nest = await self._nest_for(spec)
        except BaseException:
            group.remove()
            raise

        async def move() -> tuple[Shelter, Nest]:
            return await self._shelters.take(_key(spec), spec)

        async def release(left: Nest, was: Shelter | None) -> None:
            if was is None:
                await left.stop()
            else:
                self._shelters.leave(was)

        sandbox = ProcessSandbox(
            spec,
            self._order(spec, nest),
            nest=nest,
            shelter=shelter,
            group=group,
            admission=self._admission,
            spool=self._layout.spool / spec.id,
            learn=self._shelters.learn,
            move=move,
            release=release,
            forget=self._forget,
        )
        self._sandboxes[spec.id] = sandbox
        return sandbox

    async def _nest_for(self, spec: SandboxSpec) -> tuple[Shelter | None, Nest]:
        if self._shares(spec):
            return await self._shelters.take(_key(spec), spec)
        return None, await self._launch_nest(spec, f"nest-{spec.id}", shared=None)

    async def _launch_shared(self, spec: SandboxSpec) -> Nest:
        return await self._launch_nest(spec, f"nest-{next(self._numbers)}", shared=self._bundles)

    async def _launch_nest(self, spec: SandboxSpec, name: str, *, shared: Path | None) -> Nest:
        try:
            group = self._cgroups.create(
                name, memory_bytes=NEST_MEMORY, processes=NEST_PROCESSES, cpus=NEST_CPUS
            )
        except OSError as error:
            raise StartError(f"no control group for {name}: {error}") from error
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                process = self._spawn(spec, theirs.fileno(), group, shared)
        except OSError as error:
            ours.close()
            group.remove()
            raise StartError(f"bubblewrap cannot be started: {error}") from error
        nest = Nest(
            name,
            process=process,
            control=ours,
            group=group,
            on_gone=self._forget_nest,
            is_shared=shared is not None,
        )
        self._nests[name] = nest
        try:
            await nest.connect(self._setup(spec, name, shared))
        except BaseException:
            await nest.stop()
            raise
        return nest

    def _spawn(
        self, spec: SandboxSpec, descriptor: int, group: Group, shared: Path | None
    ) -> subprocess.Popen[bytes]:
        inner = bubblewrap.command(
            spec, self._layout, bwrap=self._bwrap, descriptor=descriptor, as_root=self._as_root, shared=shared
        )
        entries = [str(path) for path in group.entries]
        return subprocess.Popen(
            ["/bin/sh", "-c", JOIN, "sh", *entries, "--", *inner],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            env={"PATH": "/usr/bin:/bin"},
        )

    def _setup(self, spec: SandboxSpec, name: str, shared: Path | None) -> dict[str, Any]:
        owner = (shared or spec.bundle or self._layout.empty).stat()
        return {
            "uid": self._take_uid(name) if self._as_root else None,
            "bundle_owner": [owner.st_uid, owner.st_gid],
            "owns_bundles": owner.st_uid == os.geteuid(),
            "shared": shared is not None,
            "library_path": bubblewrap.libraries(spec),
            "gpu": spec.gpu,
        }

    def _order(self, spec: SandboxSpec, nest: Nest) -> dict[str, Any]:
        """Return what the cells of a sandbox are made of."""
        limits = spec.limits
        bundle = None
        if nest.is_shared:
            assert self._bundles is not None
            bundle = str((spec.bundle or self._layout.empty).resolve().relative_to(self._bundles))
        return {
            "bundle": bundle,
            "disk_bytes": limits.disk_bytes,
            "processes": None if "pids" in self._cgroups.controllers else limits.processes,
            "threads": max(1, math.ceil(limits.cpus)),
            "env": dict(spec.env),
            "work": True,
            "forks": nest.is_shared,
            "python": False,
        }

    def _take_uid(self, nest: str) -> int:
        """Choose a host user that no other nest has: at random, as engines do not know each other."""
        first, count = available_ids(Path("/proc/self/uid_map").read_text())
        while True:
            uid = first + secrets.randbelow(count)
            if uid not in self._uids.values():
                self._uids[nest] = uid
                return uid

    def _forget(self, sandbox: ProcessSandbox) -> None:
        self._sandboxes.pop(sandbox.id, None)
        with contextlib.suppress(OSError):
            shutil.rmtree(self._layout.spool / sandbox.id)

    def _forget_nest(self, nest: Nest) -> None:
        self._nests.pop(nest.name, None)
        self._uids.pop(nest.name, None)


def _key(spec: SandboxSpec) -> str:
    """Return what sandboxes have in common that may share a nest."""
    parts = (spec.owner, spec.environment, spec.system, spec.gpu, spec.binds)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def available_ids(uid_map: str) -> tuple[int, int]:
    """Return the first host id for sandboxes and how many; in a container, its upper half."""
    ends = [int(line.split()[0]) + int(line.split()[2]) for line in uid_map.splitlines()]
    highest = max(ends, default=0)
    first, count = USER_IDS
    if highest > first + count:
        return first, count
    if highest < 1024:
        raise StartError(
            "root has too few user ids to give in this container; run the service as a plain user"
        )
    return highest // 2, highest // 2 - 1
