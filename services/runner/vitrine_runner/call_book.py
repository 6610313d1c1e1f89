"""Writing down synchronous calls as runs, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

from vitrine_common.bus import Bus
from vitrine_common.messages import CallRecorded
from vitrine_runner.repository import Runs


class CallBook:
    """Writes runs of calls.

    Args:
        runs: where they stand.
        bus: for the fact that follows.
    """

    def __init__(self, runs: Runs, bus: Bus) -> None:
        self._runs = runs
        self._bus = bus

    async def record(self, run_ids: Sequence[str]) -> None:
        """Write the runs down and tell it. Doing so twice is doing so once.

        The fact is sent before the command is acknowledged, so a kill in between brings the command again.
        """
        await self._runs.record_calls(run_ids)
        await self._bus.send(CallRecorded(run_ids=list(run_ids)))
