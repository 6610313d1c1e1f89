"""Receipts whose event was lost: an emptied stream, a restored backup, a key that was not there in time."""

from __future__ import annotations

import asyncio
import logging

from vitrine_api.receipts.issuing import ATTESTED, Receipts
from vitrine_api.receipts.repository import ReceiptRepository
from vitrine_api.receipts.signing import NoSigningKey
from vitrine_common.clock import after
from vitrine_common.errors import NotFound
from vitrine_common.ids import first_id
from vitrine_common.states import RUN

log = logging.getLogger(__name__)

_LOOK_BACK_SECONDS = 24 * 3600
_SETTLED_SECONDS = 10.0
"""Younger runs are left to their event."""
_BATCH = 200
_BETWEEN_SECONDS = 0.01
"""Rest between two receipts: thousands may be due, and pages are asked for meanwhile."""
_OPEN = 20_000


class CatchUp:
    """Walks once along the ids of requests, which sort by time, and keeps an eye on those that go on.

    Every request is looked at once, then only until it has ended, so the cost follows the traffic and not
    the number of runs that there are.
    """

    def __init__(self, repository: ReceiptRepository, receipts: Receipts, pause_seconds: float) -> None:
        self._repository = repository
        self._receipts = receipts
        self._pause = pause_seconds
        self._seen = ""
        self._open: set[str] = set()

    async def forever(self) -> None:
        """Look, wait, look again."""
        while True:
            await asyncio.sleep(self._pause)
            try:
                await self.once()
            except NoSigningKey:
                self._seen = ""  # what was passed over is due once there is a key
            except Exception:
                log.exception("catching up will try again")

    async def once(self) -> int:
        """Issue what is due; return how many receipts that were. Raises NoSigningKey."""
        await self._receipts.signer.current()
        oldest = first_id("run", after(-_LOOK_BACK_SECONDS))
        self._seen = max(self._seen, oldest)
        self._open = {run_id for run_id in self._open if run_id > oldest}
        issued = 0
        for batch in _batches(sorted(self._open)):
            issued += await self._look(batch)
        latest = first_id("run", after(-_SETTLED_SECONDS))
        while True:
            found = await self._repository.requested_after(self._seen, _BATCH)
            due = [run_id for run_id in found if run_id < latest]
            issued += await self._look(due)
            if due:
                self._seen = due[-1]
            if len(due) < _BATCH:
                return issued
            await asyncio.sleep(0)

    async def _look(self, run_ids: list[str]) -> int:
        if not run_ids:
            return 0
        runs = await self._repository.runs(run_ids)
        done = await self._repository.with_receipt(run_ids)
        issued = 0
        for run_id in run_ids:
            run = runs.get(run_id)
            if run is None or not RUN.is_final(run.state):
                if len(self._open) < _OPEN:
                    self._open.add(run_id)
                continue
            self._open.discard(run_id)
            if run.state in ATTESTED and run_id not in done and not run.synchronous:
                issued += await self._issue(run_id)
                await asyncio.sleep(_BETWEEN_SECONDS)
        return issued

    async def _issue(self, run_id: str) -> int:
        try:
            return int(await self._receipts.issue_run(run_id) is not None)
        except NoSigningKey:
            raise
        except NotFound:
            return 0  # deleted together with its model
        except Exception:  # one that cannot be issued must not keep the others waiting
            log.exception("no receipt could be issued", extra={"run": run_id})
            return 0


def _batches(run_ids: list[str]) -> list[list[str]]:
    return [run_ids[start : start + _BATCH] for start in range(0, len(run_ids), _BATCH)]
