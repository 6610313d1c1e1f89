"""Which runs this host works on: what is asked for is put into the queue, and the queue is served fairly.

A message only says that a run was asked for. With a free slot here and nothing that waits, it is begun at
once; else it is written down as waiting, for every host to see, and each host that has a slot to give takes
the run whose turn it is (`vitrine_common.fairness`), whichever message told of it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from typing import TypeVar

from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunRequest
from vitrine_common.errors import Unavailable
from vitrine_common.messages import RunWaiting
from vitrine_common.run_queue import Device, Head, head_of, head_of_news, news_of
from vitrine_runner.backlog import Backlog
from vitrine_runner.execution import Desk, Execution
from vitrine_runner.live import tell_state
from vitrine_runner.placement import Placement
from vitrine_runner.slots import Shares, Slots
from vitrine_runner.worker import Need

log = logging.getLogger(__name__)

T = TypeVar("T")

AGAIN_SECONDS = 1.0
PAUSE_SECONDS = 0.01
CLOSE_SECONDS = 10.0
"""Time to write down that runs go back to the queue."""
KEPT_REQUESTS = 1000
KEPT_CHARACTERS = 16_384
"""Of requests that wait, those with longer inputs are read again when they are served."""

SignOfLife = Callable[[], Awaitable[None]]


class Dispatcher:
    """The executions of this process.

    Args:
        desk: what executions work with.
        slots: how many there are at most.
        devices: the kinds of run that this host takes.
        placement: which runs this host is a good place for.
    """

    def __init__(self, desk: Desk, slots: int, devices: Sequence[Device], placement: Placement) -> None:
        self._desk = desk
        self._placement = placement
        self._left_seconds = inf
        self.devices = tuple(devices)
        self.slots = Slots(slots)
        standing = desk.pool.standing
        self._shares = Shares(self.slots, standing.places, standing.has_place)
        self._backlogs = {device: Backlog(desk.runs.waiting, device) for device in devices}
        self._rotation = itertools.cycle(self._backlogs)
        self._requests: OrderedDict[str, RunRequest] = OrderedDict()
        self._executions: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._serving = asyncio.Lock()

    async def start(self, run_id: str, in_progress: SignOfLife) -> None:
        """Begin the run, or write it down as waiting; return once either is durable, or it is not ours.

        Raises NotFound when nobody asked for such a run.
        """
        request = await _patiently(lambda: self._desk.runs.request(run_id), in_progress)
        if request.expires_at <= utcnow():
            await self._tell(await _patiently(lambda: self._desk.runs.expire(request), in_progress))
        elif self._is_ours_at_once(request) and self._shares.take(need_of(request)):
            await self._begin_at_once(request, in_progress)
        else:
            await _patiently(lambda: self._desk.runs.accept(request), in_progress)
            self._keep(request)
            head = head_of(request)
            self._backlogs[request.device].note(head)
            self._wake.set()
            await self._desk.bus.tell(news_of(head, request.device))

    def _is_ours_at_once(self, request: RunRequest) -> bool:
        """Whether nobody else waits, and no other host is a better place."""
        return self._backlogs[request.device].is_empty and not self._placement.patience(head_of(request))

    def note_waiting(self, news: RunWaiting) -> None:
        """Hear that a run waits that any host may take."""
        if (backlog := self._backlogs.get(news.device)) is not None:
            backlog.note(head_of_news(news))
            self._wake.set()

    async def serve_forever(self) -> None:
        """Take runs from the queue whenever a slot is free, until cancelled."""
        while True:
            while not self._shares.is_free:
                await self._change()
            self._wake.clear()
            try:
                async with self._serving:
                    while self._shares.is_free and await self._serve_next():
                        pass
            except Unavailable as error:
                log.warning("will look at the queue again", extra={"error": error.message})
                await asyncio.sleep(AGAIN_SECONDS)
            except Exception:
                log.exception("will look at the queue again")
                await asyncio.sleep(AGAIN_SECONDS)
            if self._shares.is_free:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()

    def cancel(self, run_id: str) -> None:
        """End a run that is worked on here; others have no effect."""
        execution = self._executions.get(run_id)
        if execution is not None:
            execution.cancel()

    async def requeue(self, run: Run) -> None:
        """Decide what becomes of a run whose holder died."""
        await self._tell(await self._desk.runs.requeue(run))

    async def close(self, grace_seconds: float) -> None:
        """Take nothing more; let runs end for `grace_seconds`, then give the rest back to the queue."""
        self.slots.close()
        async with self._serving:  # what is being claimed is begun, and then given back with the others
            pass
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for execution in self._executions.values():
            execution.give_back()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _change(self) -> None:
        """Return when a slot or a worker's place may have become free."""
        waits = [asyncio.ensure_future(wait) for wait in (self.slots.change(), self._desk.pool.change())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _pause(self) -> float:
        to_look = min(backlog.seconds_to_look for backlog in self._backlogs.values())
        return max(PAUSE_SECONDS, min(to_look, self._left_seconds))

    async def _serve_next(self) -> bool:
        """Begin the run whose turn it is; False when there is none to be had at present."""
        self._left_seconds = inf
        for device in itertools.islice(self._rotation, len(self._backlogs)):
            backlog = self._backlogs[device]
            for head in await backlog.candidates():
                if patience := self._placement.patience(head):
                    self._left_seconds = min(self._left_seconds, patience)
                    continue
                if not self._shares.take(need_of(head)):
                    return False  # nobody goes before whose turn it is, not even into a shared slot
                backlog.drop(head)
                if await self._begin_waiting(head):
                    return True
        return False

    async def _begin_waiting(self, head: Head) -> bool:
        """Claim and begin a run that waits, in a slot that was taken; False when somebody was quicker."""
        run = None
        try:
            run = await self._desk.runs.claim(head.id)
            if run is not None:
                request = self._requests.pop(head.id, None) or await self._desk.runs.request(head.id)
        except BaseException:
            self._shares.release(need_of(head))
            raise  # what was claimed comes back when its lease is over
        if run is None:
            self._requests.pop(head.id, None)
            self._shares.release(need_of(head))
            return False
        self._begin(Execution(self._desk, request, run), need_of(head))
        return True

    async def _begin_at_once(self, request: RunRequest, in_progress: SignOfLife) -> None:
        """Claim and begin a run, in a slot that was taken; one that is somebody else's gives it back."""
        run = None
        try:
            run = await _patiently(lambda: self._desk.runs.take(request), in_progress)
        finally:
            if run is None:
                self._shares.release(need_of(request))
        if run is not None:
            self._begin(Execution(self._desk, request, run), need_of(request))

    def _begin(self, execution: Execution, need: Need) -> None:
        """Work on a run, in the slot that was taken for `need`."""
        run_id, backlog = execution.run_id, self._backlogs[execution.request.device]
        self._executions[run_id] = execution
        backlog.note_begun(run_id, execution.request.flow)
        task = asyncio.create_task(execution.carry_out(), name=f"run {run_id}")
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if self._executions.get(run_id) is execution:
                del self._executions[run_id]
            backlog.note_ended(run_id)
            self._shares.release(need)
            self._wake.set()

        task.add_done_callback(ended)

    def _keep(self, request: RunRequest) -> None:
        if len(request.inputs) <= KEPT_CHARACTERS:
            self._requests[request.id] = request
            if len(self._requests) > KEPT_REQUESTS:
                self._requests.popitem(last=False)

    async def _tell(self, run: Run | None) -> None:
        if run is not None:
            await tell_state(self._desk.bus, run)


def need_of(run: Head | RunRequest) -> Need:
    """Return what a run needs a worker for."""
    return Need(run.version_digest, run.environment_digest, run.flow.owner)


async def _patiently(call: Callable[[], Awaitable[T]], in_progress: SignOfLife) -> T:
    """Call until the database answers, so that an outage ends in no dead letter."""
    while True:
        try:
            return await call()
        except Unavailable as error:
            log.warning("will look again", extra={"error": error.message})
        await in_progress()
        await asyncio.sleep(AGAIN_SECONDS)
