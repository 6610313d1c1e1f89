"""Where a run happens: what it needs of its sandbox, whatever engine made that."""

from __future__ import annotations

import socket
from typing import Any, Protocol


class Measures(Protocol):
    """What a run asks about the memory of its place."""

    def reset_peak(self) -> None:
        """Begin a new peak."""

    def peak_bytes(self) -> int | None:
        """Largest memory use seen since `reset_peak`."""

    def out_of_memory_kills(self) -> int:
        """How many processes were killed at the memory limit."""


class Host(Protocol):
    """Where a run happens: what it needs of its sandbox, or of the part of it that serves this run alone."""

    @property
    def meter(self) -> Measures:
        """Measures of the place's memory."""

    @property
    def is_script(self) -> bool:
        """Whether the place executes command lines."""

    @property
    def death(self) -> int | None:
        """Status with which a loaded model's process ended by itself (128 + n for signal n), once it told."""

    @property
    def stopping(self) -> bool:
        """Whether the service has asked the sandbox to stop."""

    async def hand_over(self, message: dict[str, Any], sock: socket.socket) -> None:
        """Send a control message with a descriptor."""

    async def kill_run(self, run_id: str) -> None:
        """Kill a run's processes, with the sandbox where it does not obey, and wait until they are gone."""

    async def wait_ended(self, run_id: str) -> None:
        """Return when nothing of the run is left."""

    async def destroy(self) -> None:
        """Kill the sandbox."""
