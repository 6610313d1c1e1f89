"""Finding out what a program in a sandbox sees of itself, whatever engine made the sandbox."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from vitrine_engine.events import Finished, Log
from vitrine_engine.protocol import Engine, Limits, RunRequest, SandboxSpec, ScriptModel, StartError

NAMESPACES = {
    "user": "user",
    "mount": "mnt",
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
}
LOOK = 'cat /proc/self/status /proc/mounts; for n in "$@"; do readlink /proc/self/ns/$n || :; done'


async def look_around(engine: Engine) -> str:
    """Return status, mounts and namespaces as a program in a sandbox sees them of itself.

    Raises `StartError` where no sandbox starts, or none can run programs.
    """
    with tempfile.TemporaryDirectory(prefix="vitrine-probe-") as directory:
        bundle = Path(directory)
        os.chmod(directory, 0o755)  # noqa: PTH101, S103 - a call that does not block; read by a sandbox's user
        spec = SandboxSpec(id=f"probe-{secrets.token_hex(4)}", bundle=bundle, limits=Limits(wall_seconds=30))
        sandbox = await engine.start(spec)
        said = {"stdout": b"", "stderr": b""}
        try:
            await sandbox.load(ScriptModel())
            request = RunRequest(id="look", argv=("/bin/sh", "-c", LOOK, "sh", *NAMESPACES.values()))
            async with contextlib.aclosing(sandbox.run(request)) as events:
                async for event in events:
                    if isinstance(event, Log):
                        said[event.stream] += event.data
                    elif isinstance(event, Finished) and event.outcome.reason is not None:
                        raise StartError(f"a sandbox starts but cannot run programs: {event.outcome.message}")
        finally:
            await sandbox.stop()
    return said["stdout"].decode(errors="replace")


def own_namespaces(seen: str) -> tuple[str, ...]:
    """Return the names of the namespaces that the program has of its own."""
    return tuple(name for name, entry in NAMESPACES.items() if _is_own(entry, seen))


def _is_own(entry: str, seen: str) -> bool:
    own = Path(f"/proc/self/ns/{entry}").readlink()
    return f"{entry}:[" in seen and str(own) not in seen
