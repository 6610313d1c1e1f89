"""A process that is meant for good, though its number may be another's once it has ended."""

from __future__ import annotations

import os
import select
import signal


class Handle:
    """A hold on the process that has the number `pid` now; raises `OSError` where there is none.

    Zero and less are refused: to the kernel they mean this process, or many.
    """

    def __init__(self, pid: int) -> None:
        if pid <= 0:
            raise ProcessLookupError(f"{pid} is no process of a sandbox")
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, so that its number may be another's."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def signal(self, number: int) -> None:
        """Send a signal; raises `OSError` where the process has gone."""
        signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
