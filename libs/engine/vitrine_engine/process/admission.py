"""Putting processes under limits, which costs the kernel milliseconds each, beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from vitrine_engine.process.cgroups import Group
from vitrine_engine.process.handle import Handle

THREADS = 2
"""The kernel moves one process at a time; whoever moves one waits for all processors."""


class Admission:
    """Threads of their own, so that no hashing or unpacking of a service holds up a sandbox's start."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="admission")

    async def admit(self, group: Group, process: Handle) -> None:
        """Let a process join a group, with what it forks from then on; raises `OSError`."""
        await asyncio.get_running_loop().run_in_executor(self._threads, group.admit, process)

    def close(self) -> None:
        """Begin nothing any more."""
        self._threads.shutdown(wait=False)
