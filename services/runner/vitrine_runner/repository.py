"""The only code that writes runs and checks of claims.

Every change is one compare-and-set with the facts that follow from it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vitrine_common.clock import after, utcnow
from vitrine_common.documents import CallOutcome, ClaimCheck, ClaimCheckRequest, Repeat, Run, RunRequest
from vitrine_common.errors import Conflict, NotFound
from vitrine_common.leases import WorkQueue
from vitrine_common.messages import ClaimChecked, ClaimCheckStart, Message, RunFinished, RunStart
from vitrine_common.run_queue import RunQueue
from vitrine_common.states import CLAIM_CHECK, RUN, VERDICTS, ClaimState, Reason, RunState
from vitrine_common.store import Database

log = logging.getLogger(__name__)

_ACTIVE = sorted(RUN.active)
_UNFINISHED = [RunState.QUEUED, *_ACTIVE]
_BATCH = 200
_OVERDUE = 500


class Runs:
    """Requests (read) and runs (written).

    Args:
        database: opened as the runner.
        holder: names this process in leases.
        lease_seconds: a lease's life.
        max_attempts: how often a run is begun at most.
    """

    def __init__(self, database: Database, holder: str, lease_seconds: float, max_attempts: int) -> None:
        self._requests = database.collection(RunRequest)
        self._runs = database.collection(Run)
        self._holder = holder
        self._max_attempts = max_attempts
        self.waiting = RunQueue(self._runs)
        self.queue: WorkQueue[Run] = WorkQueue(self._runs, RUN, holder, lease_seconds)

    async def erase(self, **where: str) -> None:
        """Delete the runs of a version or link that is gone."""
        await self._runs.delete(where)

    async def record_calls(self, run_ids: Sequence[str]) -> None:
        """Write down the runs of synchronous calls; those that are written down stay as they are."""
        where = {"_id": {"$in": list(run_ids)}}
        requests = await self._requests.find(where, (("_id", 1),), len(run_ids) or 1)
        runs = [_run_of_call(request, request.call) for request in requests if request.call is not None]
        await self._runs.insert_all(runs)

    async def request(self, run_id: str) -> RunRequest:
        """Return what was asked for; raises NotFound."""
        return await self._requests.get(run_id)

    async def take(self, request: RunRequest) -> Run | None:
        """Make the run ours, in `starting`; None when it is over or somebody else's."""
        run = await self.queue.enlist(_new_run(request).model_copy(update=self._ours()), RunState.STARTING)
        return run or await self.claim(request.id)

    def _ours(self) -> dict[str, Any]:
        return {"runner": self._holder, "started_at": utcnow(), "message": ""}

    async def claim(self, run_id: str) -> Run | None:
        """Make a run that waits ours, in `starting`; None when it does not wait any more."""
        return await self.queue.claim(run_id, RunState.STARTING, self._ours())

    async def accept(self, request: RunRequest) -> None:
        """Write a run down as waiting; doing so twice is doing so once."""
        with suppress(Conflict):
            await self._runs.insert(_new_run(request))

    async def expire(self, request: RunRequest) -> Run | None:
        """End a run that waited for too long; None when it does not wait."""
        message = "No worker was free before the request expired; run it again."
        await self.accept(request)
        return await self.settle(request.id, RunState.QUEUED, RunState.EXPIRED, Reason.EXPIRED, message)

    async def overdue(self, seconds: float) -> list[RunRequest]:
        """Return requests that expired within the last `seconds` and whose runs have not ended."""
        just_expired = {"expires_at": {"$gt": after(-seconds), "$lt": utcnow()}}
        return await self._unfinished(await self._requests.find(just_expired, (("expires_at", 1),), _OVERDUE))

    async def note_running(self, run: Run) -> Run:
        """Show that the model computes; raises StaleState when the lease was lost."""
        return await self.queue.advance(run, RunState.RUNNING)

    async def note_saving(self, run: Run) -> Run:
        """Show that outputs are being stored; raises StaleState when the lease was lost."""
        return await self.queue.advance(run, RunState.SAVING, through=(RunState.RUNNING,))

    async def finish(self, run: Run, state: RunState, changes: Mapping[str, Any]) -> Run:
        """Enter a final state and tell it, in one step; raises StaleState when the lease was lost."""
        fact = _fact(run, state, changes.get("reason"))
        through = (RunState.RUNNING, RunState.SAVING) if state is RunState.SUCCEEDED else ()
        changes = {**changes, "finished_at": utcnow()}
        return await self.queue.advance(run, state, changes, [fact], through=through)

    async def give_back(self, run: Run, request: RunRequest, *, counted: bool) -> Run:
        """Put a run that we hold back into the queue; `counted` says whether the attempt counts."""
        changes = {**_AFRESH, "attempt": run.attempt if counted else run.attempt - 1}
        if counted:
            changes["message"] = self._tried_again(run)
        again = RunStart(run_id=run.id, device=request.device)
        return await self.queue.advance(run, RunState.QUEUED, changes, [again])

    def may_retry(self, run: Run) -> bool:
        """Whether a run that the platform failed may be begun once more."""
        return run.attempt < self._max_attempts

    async def requeue(self, run: Run) -> Run | None:
        """Decide what becomes of a run whose holder died; None when it has moved on."""
        if run.cancel_requested:
            return await self.settle(run.id, run.state, RunState.CANCELLED, Reason.CANCELLED, _WAS_CANCELLED)
        if not self.may_retry(run):
            message = (
                f"The worker that ran this stopped {run.attempt} times without a result; ask the operator."
            )
            return await self.settle(run.id, run.state, RunState.FAILED, Reason.PLATFORM_ERROR, message)
        request = await self.request(run.id)
        again = RunStart(run_id=run.id, device=request.device)
        changes = {**_AFRESH, "message": self._tried_again(run)}
        return await self.queue.settle(run.id, run.state, RunState.QUEUED, changes, [again])

    def _tried_again(self, run: Run) -> str:
        return (
            "The worker stopped before there was a result. The run is begun again: attempt "
            f"{run.attempt + 1} of at most {self._max_attempts}."
        )

    async def settle(
        self, run_id: str, source: RunState, target: RunState, reason: Reason, message: str
    ) -> Run | None:
        """End a run that nobody holds and tell it; None when it has moved on."""
        run = await self._runs.find_one({"_id": run_id})
        if run is None:
            return None
        changes = {"reason": reason, "message": message, "finished_at": utcnow()}
        fact = _fact(run, target, reason)
        return await self.queue.settle(run_id, source, target, changes, [fact])

    async def cancel(self, request: RunRequest) -> Run | None:
        """Cancel a waiting run, or write down that a working one shall end; None when it is over.

        The run that comes back is either cancelled or has `cancel_requested`.
        """
        if request.call is not None:
            return None  # it was answered before it was stored
        await self.accept(request)
        for _ in range(3):  # it may begin, or return to the queue, between the two looks
            done = await self.settle(
                request.id, RunState.QUEUED, RunState.CANCELLED, Reason.CANCELLED, _WAS_CANCELLED
            )
            if done is not None:
                return done
            working = {"_id": request.id, "state": {"$in": _ACTIVE}}
            asked = await self._runs.update(working, {"cancel_requested": True, "updated_at": utcnow()})
            if asked is not None:
                return asked
            run = await self._runs.find_one({"_id": request.id})
            if run is None:
                raise NotFound(f"there is no run {request.id}")
            if RUN.is_final(run.state):
                return None
        raise Conflict(f"run {request.id} keeps changing; try again")

    async def unfinished_of_link(self, link_id: str) -> AsyncIterator[RunRequest]:
        """Yield the requests of a link that still wait or work."""
        batch: list[RunRequest] = []
        async for request in self._requests.each({"link_id": link_id}, _BATCH):
            batch.append(request)
            if len(batch) == _BATCH:
                for open_request in await self._unfinished(batch):
                    yield open_request
                batch = []
        for open_request in await self._unfinished(batch):
            yield open_request

    async def _unfinished(self, requests: list[RunRequest]) -> list[RunRequest]:
        if not requests:
            return []
        ids = [request.id for request in requests]
        known = await self._runs.find({"_id": {"$in": ids}}, limit=len(ids))
        over = {run.id for run in known if run.state not in _UNFINISHED}
        return [request for request in requests if request.id not in over and request.call is None]


_WAS_CANCELLED = "The run was cancelled."
_AFRESH: Mapping[str, Any] = {"cold": None, "started_at": None, "runner": None}


def _new_run(request: RunRequest) -> Run:
    return Run(
        id=request.id,
        created_at=request.created_at,
        version_id=request.version_id,
        version_digest=request.version_digest,
        owner_id=request.owner_id,
        link_id=request.link_id,
        visitor_id=request.visitor_id,
        blind=request.blind,
        flow=request.flow.key,
        environment_digest=request.environment_digest,
        device=request.device,
        gpus=request.gpus,
        gpu_memory=request.gpu_memory,
        expires_at=request.expires_at,
    )


def _run_of_call(request: RunRequest, call: CallOutcome) -> Run:
    return _new_run(request).model_copy(
        update={
            "state": call.state,
            "reason": call.reason,
            "message": call.message,
            "cold": call.cold,
            "outputs": call.outputs,
            "timings": call.timings,
            "attempt": 1,
            "started_at": request.created_at,
            "finished_at": call.finished_at,
            "runner": call.runner,
            "synchronous": True,
        }
    )


def _fact(run: Run, state: RunState, reason: Reason | None) -> Message:
    return RunFinished(run_id=run.id, version_id=run.version_id, state=state, reason=reason)


_OPEN_CHECKS = [ClaimState.QUEUED, *sorted(CLAIM_CHECK.active)]
_CHECK_CANCELLED = "The check was cancelled."
_CHECK_AFRESH: Mapping[str, Any] = {"started_at": None, "runner": None, "repeats": []}


class Checks:
    """Wishes to have claims checked (read) and what became of them (written).

    Args:
        database: opened as the runner.
        holder: names this process in leases.
        lease_seconds: a lease's life.
        max_attempts: how often a check is begun at most.
    """

    def __init__(self, database: Database, holder: str, lease_seconds: float, max_attempts: int) -> None:
        self._requests = database.collection(ClaimCheckRequest)
        self._checks = database.collection(ClaimCheck)
        self._holder = holder
        self._max_attempts = max_attempts
        self.queue: WorkQueue[ClaimCheck] = WorkQueue(self._checks, CLAIM_CHECK, holder, lease_seconds)

    async def erase(self, **where: str) -> None:
        """Delete the checks of a version or link that is gone."""
        await self._checks.delete(where)

    async def request(self, check_id: str) -> ClaimCheckRequest:
        """Return what was asked for; raises NotFound."""
        return await self._requests.get(check_id)

    async def accept(self, check_id: str) -> None:
        """Write a check down, waiting; doing so twice is doing so once. Raises NotFound."""
        request = await self._requests.get(check_id)
        check = ClaimCheck(
            id=request.id,
            created_at=request.created_at,
            version_id=request.version_id,
            claim_name=request.claim_name,
            link_id=request.link_id,
            blind=request.blind,
            device=request.device,
            own_inputs=len(request.own_inputs),
            expires_at=request.expires_at,
        )
        with suppress(Conflict):
            await self._checks.insert(check)

    async def forgotten(self, older: float, younger: float) -> list[str]:
        """Return ids of requests made between so many seconds ago that nobody wrote down."""
        window = {"created_at": {"$gt": after(-older), "$lt": after(-younger)}}
        requests = await self._requests.find(window, (("created_at", 1),), _OVERDUE)
        ids = [request.id for request in requests]
        known = {check.id for check in await self._checks.find({"_id": {"$in": ids}}, limit=_OVERDUE)}
        return [check_id for check_id in ids if check_id not in known]

    async def waiting(self, devices: Sequence[str], limit: int) -> list[ClaimCheck]:
        """Return checks that wait for one of `devices`, the oldest first."""
        where = {"state": ClaimState.QUEUED, "device": {"$in": list(devices)}}
        return await self._checks.find(where, (("created_at", 1),), limit)

    async def take(self, check: ClaimCheck) -> ClaimCheck | None:
        """Make a waiting check ours; None when somebody was quicker."""
        ours = {**_CHECK_AFRESH, "runner": self._holder, "started_at": utcnow()}
        return await self.queue.claim(check.id, ClaimState.RUNNING, ours)

    async def note_repeats(self, check: ClaimCheck, repeats: Sequence[Repeat]) -> None:
        """Write down the repeats so far; raises StaleState when the lease was lost."""
        await self.queue.note(check, {"repeats": list(repeats)})

    async def note_saving(self, check: ClaimCheck) -> ClaimCheck:
        """Show that every repeat is over; raises StaleState when the lease was lost."""
        return await self.queue.advance(check, ClaimState.SAVING)

    async def finish(self, check: ClaimCheck, state: ClaimState, changes: Mapping[str, Any]) -> ClaimCheck:
        """Enter a final state and tell it, in one step; raises StaleState when the lease was lost."""
        written = {**changes, "finished_at": utcnow(), "tally": _tally(check, state, changes.get("reason"))}
        through = (ClaimState.SAVING,) if state in VERDICTS else ()
        return await self.queue.advance(check, state, written, [_checked(check, state)], through=through)

    async def give_back(self, check: ClaimCheck, *, counted: bool) -> ClaimCheck:
        """Put a check that we hold back into the queue; `counted` says whether the attempt counts."""
        changes = {**_CHECK_AFRESH, "attempt": check.attempt if counted else check.attempt - 1}
        again = ClaimCheckStart(check_id=check.id, device=check.device)
        return await self.queue.advance(check, ClaimState.QUEUED, changes, [again])

    def may_retry(self, check: ClaimCheck) -> bool:
        """Whether a check that the platform failed may be begun once more."""
        return check.attempt < self._max_attempts

    async def requeue(self, check: ClaimCheck) -> ClaimCheck | None:
        """Decide what becomes of a check whose holder died; None when it has moved on."""
        if check.cancel_requested:
            return await self.settle(check, ClaimState.CANCELLED, Reason.CANCELLED, _CHECK_CANCELLED)
        if not self.may_retry(check):
            message = f"The runner stopped {check.attempt} times without a result; ask the operator."
            return await self.settle(check, ClaimState.FAILED, Reason.PLATFORM_ERROR, message)
        again = ClaimCheckStart(check_id=check.id, device=check.device)
        return await self.queue.settle(check.id, check.state, ClaimState.QUEUED, _CHECK_AFRESH, [again])

    async def settle(
        self, check: ClaimCheck, target: ClaimState, reason: Reason, message: str
    ) -> ClaimCheck | None:
        """End a check that nobody holds and tell it; None when it has moved on."""
        changes = {"reason": reason, "message": message, "finished_at": utcnow()}
        return await self.queue.settle(check.id, check.state, target, changes, [_checked(check, target)])

    async def expire_overdue(self) -> list[ClaimCheck]:
        """End the checks that waited for too long; return them."""
        message = "No runner was free before the check expired; ask for it again."
        overdue = {"state": ClaimState.QUEUED, "expires_at": {"$lt": utcnow()}}
        checks = await self._checks.find(overdue, (("created_at", 1),), _OVERDUE)
        ended = [await self.settle(c, ClaimState.EXPIRED, Reason.EXPIRED, message) for c in checks]
        return [check for check in ended if check is not None]

    async def cancel(self, check_id: str) -> ClaimCheck | None:
        """Cancel a waiting check, or write down that a working one shall end; None when it is over.

        The check that comes back is either cancelled or has `cancel_requested`. Raises NotFound.
        """
        await self.accept(check_id)
        for _ in range(3):  # it may begin, or return to the queue, between the two looks
            check = await self._checks.get(check_id)
            if CLAIM_CHECK.is_final(check.state):
                return None
            if check.state is ClaimState.QUEUED:
                done = await self.settle(check, ClaimState.CANCELLED, Reason.CANCELLED, _CHECK_CANCELLED)
            else:
                working = {"_id": check_id, "state": {"$in": sorted(CLAIM_CHECK.active)}}
                done = await self._checks.update(working, {"cancel_requested": True, "updated_at": utcnow()})
            if done is not None:
                return done
        raise Conflict(f"check {check_id} keeps changing; try again")

    async def unfinished_of_link(self, link_id: str) -> list[str]:
        """Return the checks of a link that wait or work."""
        requests = [request async for request in self._requests.each({"link_id": link_id}, _BATCH)]
        over: set[str] = set()
        for start in range(0, len(requests), _BATCH):
            ids = [request.id for request in requests[start : start + _BATCH]]
            known = await self._checks.find({"_id": {"$in": ids}}, limit=_BATCH)
            over |= {check.id for check in known if check.state not in _OPEN_CHECKS}
        return [request.id for request in requests if request.id not in over]


def _checked(check: ClaimCheck, state: ClaimState) -> Message:
    return ClaimChecked(
        check_id=check.id,
        version_id=check.version_id,
        claim=check.claim_name,
        state=state,
        own_inputs=check.own_inputs,
    )


def _tally(check: ClaimCheck, state: ClaimState, reason: Reason | None) -> str:
    """Return what a check counts as: verdicts on the claim's own dataset that were the command's doing."""
    counts = state in VERDICTS and not check.own_inputs and reason is not Reason.PLATFORM_ERROR
    return f"{'blind/' * bool(check.blind)}{check.claim_name}:{state.value}" if counts else ""
