"""The process engine: starts sandboxes, finds out what isolation this machine allows."""

from __future__ import annotations

import asyncio
import contextlib
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
from vitrine_engine.process.cgroups import Cgroups, Group
from vitrine_engine.process.layout import Layout
from vitrine_engine.process.sandbox import ProcessSandbox
from vitrine_engine.protocol import Isolation, SandboxSpec, StartError

JOIN = 'umask 022; while [ "$1" != -- ]; do echo $$ > "$1" || exit 96; shift; done; shift; exec "$@"'
"""Joins control groups, then becomes the launcher: nothing of a sandbox ever runs outside of them."""
USER_IDS = (1 << 30, 1 << 29)
"""First host uid for sandboxes and how many, where the service runs as root with all ids to give."""


class ProcessEngine:
    """Implements `Engine` with bubblewrap.

    `state_dir` belongs to this engine alone while it lives (`StartError` otherwise); what a killed engine
    left there, and in control groups, is removed by the next one. `bwrap` names the launcher.
    """

    name = "process"

    def __init__(self, state_dir: Path, *, bwrap: str | None = None) -> None:
        found = shutil.which(bwrap or "bwrap")
        if found is None:
            raise StartError("bubblewrap is missing: install it (apt-get install bubblewrap)")
        self._bwrap = found
        self._layout = Layout(state_dir)
        self._cgroups = Cgroups(self._layout.tag)
        self._as_root = os.geteuid() == 0
        self._sandboxes: dict[str, ProcessSandbox] = {}
        self._starting: set[str] = set()
        self._uids: dict[str, int] = {}
        self._closed = False

    async def probe(self) -> Isolation:
        """Start a sandbox, look around in it, and report; see `Engine.probe`."""
        return await isolation.probe(self, self._cgroups, as_root=self._as_root)

    async def start(self, spec: SandboxSpec) -> ProcessSandbox:
        """Make a sandbox; see `Engine.start`."""
        self._check(spec)
        self._starting.add(spec.id)
        try:
            sandbox = await self._launch(spec)
        finally:
            self._starting.discard(spec.id)
        return sandbox

    async def aclose(self) -> None:
        """Stop every sandbox; see `Engine.aclose`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(sandbox.stop() for sandbox in list(self._sandboxes.values())))
        self._layout.close()

    def _check(self, spec: SandboxSpec) -> None:
        if self._closed:
            raise StartError("the engine has been closed")
        checks.check_spec(spec)
        if spec.id in self._sandboxes or spec.id in self._starting:
            raise ValueError(f"sandbox {spec.id} is running already")

    async def _launch(self, spec: SandboxSpec) -> ProcessSandbox:
        limits = spec.limits
        try:
            group = self._cgroups.create(
                spec.id, memory_bytes=limits.memory_bytes, processes=limits.processes, cpus=limits.cpus
            )
        except OSError as error:
            raise StartError(f"no control group for sandbox {spec.id}: {error}") from error
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                process = self._spawn(spec, theirs.fileno(), group)
        except OSError as error:
            ours.close()
            group.remove()
            raise StartError(f"bubblewrap cannot be started: {error}") from error
        sandbox = ProcessSandbox(
            spec,
            process=process,
            control=ours,
            group=group,
            spool=self._layout.spool / spec.id,
            on_gone=self._forget,
        )
        self._sandboxes[spec.id] = sandbox
        try:
            await sandbox.connect(self._setup(spec))
        except BaseException:
            await sandbox.stop()
            raise
        return sandbox

    def _spawn(self, spec: SandboxSpec, descriptor: int, group: Group) -> subprocess.Popen[bytes]:
        inner = bubblewrap.command(
            spec, self._layout, bwrap=self._bwrap, descriptor=descriptor, as_root=self._as_root
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

    def _setup(self, spec: SandboxSpec) -> dict[str, Any]:
        owner = (spec.bundle or self._layout.empty).stat()
        limits = spec.limits
        return {
            "uid": self._take_uid(spec.id) if self._as_root else None,
            "bundle_owner": [owner.st_uid, owner.st_gid],
            "owns_bundle": owner.st_uid == os.geteuid(),
            "disk_bytes": limits.disk_bytes,
            "processes": None if "pids" in self._cgroups.controllers else limits.processes,
            "threads": max(1, math.ceil(limits.cpus)),
            "library_path": bubblewrap.libraries(spec),
            "gpu": spec.gpu,
            "env": dict(spec.env),
        }

    def _take_uid(self, sandbox_id: str) -> int:
        """Choose a host user that no other sandbox has: at random, as engines do not know each other."""
        first, count = available_ids(Path("/proc/self/uid_map").read_text())
        while True:
            uid = first + secrets.randbelow(count)
            if uid not in self._uids.values():
                self._uids[sandbox_id] = uid
                return uid

    def _forget(self, sandbox_id: str) -> None:
        self._sandboxes.pop(sandbox_id, None)
        self._uids.pop(sandbox_id, None)
        with contextlib.suppress(OSError):
            shutil.rmtree(self._layout.spool / sandbox_id)


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
