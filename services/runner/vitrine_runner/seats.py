"""Workers for synchronous calls: lent from the pool while there are calls, a few calls each at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from vitrine_runner.errors import RunFault, as_fault
from vitrine_runner.workers import Lent, Need, Worker, WorkerPool

log = logging.getLogger(__name__)

AHEAD = 1
"""Calls that a worker is given beyond those that it computes at a time: the next one is there already."""
LINGER_SECONDS = 1.0
"""How long a worker is kept from other uses after its last call."""
TURN_SECONDS = 5.0
"""How long calls keep a worker that others may wait for."""
GROW_SECONDS = 0.02
"""How long calls wait before a further worker is started for them."""
_TICK_SECONDS = 0.001
"""By how much a timer may end early on the clock of its loop."""


class Seat:
    """A worker that is lent to calls."""

    def __init__(self, lent: Lent) -> None:
        self.worker: Worker = lent.worker
        self.is_new = lent.cold
        self.users = 0
        self.leaving = False
        self.free = asyncio.Event()
        """Set when the worker shall be, and can be, given back."""
        now = asyncio.get_running_loop().time()
        self.since = self.used = now

    @property
    def has_place(self) -> bool:
        """Whether one more call fits."""
        most = self.worker.bundle.spec.scaling.places + AHEAD
        return self.users < most and not self.leaving and self.worker.is_ready

    def leave(self) -> None:
        """Give the worker back as soon as its calls are answered."""
        self.leaving = True
        if not self.users:
            self.free.set()


class Seats:
    """The workers of one version for calls, and the calls that wait for one.

    Args:
        pool: lends workers.
        need: the version and its environment.
        cores: of this host: no more workers are started than can compute at once.
        on_ready: called when a worker of this version lives.
    """

    def __init__(self, pool: WorkerPool, need: Need, cores: int, on_ready: Callable[[], None]) -> None:
        self.need = need
        self._pool = pool
        self._cores = cores
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._seats: list[Seat] = []
        self._waiting: deque[tuple[float, asyncio.Future[Seat]]] = deque()
        self._keepers: set[asyncio.Task[None]] = set()
        self._starting = 0

    @property
    def is_unused(self) -> bool:
        """Whether nothing of this version is used, waits or starts."""
        return not self._seats and not self._waiting and not self._keepers

    @property
    def queue(self) -> int:
        """Calls that wait."""
        return len(self._waiting)

    async def take(self, patience: float) -> Seat:
        """Return a place in a worker, waiting for `patience` seconds at most.

        Raises TimeoutError, RunFault when no worker can be made ready.
        """
        if not self._waiting:
            seat = self._best()
            if seat is not None:
                seat.users += 1
                return seat
        future: asyncio.Future[Seat] = self._loop.create_future()
        self._waiting.append((self._loop.time(), future))
        self._grow()
        timers = (
            self._loop.call_later(patience, _overdue, future),
            self._loop.call_later(GROW_SECONDS + _TICK_SECONDS, self._grow),
        )
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.release(future.result())
            raise
        finally:
            for timer in timers:
                timer.cancel()

    def release(self, seat: Seat) -> None:
        """Give a place back; the call that has waited longest gets it."""
        seat.users -= 1
        seat.is_new = False
        seat.used = self._loop.time()
        if not seat.worker.is_ready or (self._waiting and seat.used - seat.since > TURN_SECONDS):
            seat.leaving = True
        if seat.leaving and not seat.users:
            seat.free.set()
        self._serve()

    def tend(self) -> None:
        """Give back workers that no call has used for a while, and see to calls that wait.

        A run that wants a worker to itself gets one after a turn, however steadily calls come.
        """
        now = self._loop.time()
        is_lonely = self._pool.places.is_lonely(self.need)
        for seat in self._seats:
            is_unused = not seat.users and now - seat.used > LINGER_SECONDS
            is_over = is_lonely and now - seat.since > TURN_SECONDS
            if not seat.worker.is_ready or is_unused or is_over:
                seat.leave()
        self._serve()
        self._grow()

    async def aclose(self) -> None:
        """Give all workers back; calls that wait fail."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def _best(self) -> Seat | None:
        best = None
        for seat in self._seats:
            if seat.has_place and (best is None or seat.users < best.users):
                best = seat
        return best

    def _serve(self) -> None:
        while self._waiting:
            if self._waiting[0][1].done():
                self._waiting.popleft()
                continue
            seat = self._best()
            if seat is None:
                self._grow()
                return
            seat.users += 1
            self._waiting.popleft()[1].set_result(seat)

    def _grow(self) -> None:
        """Start a worker where none is, or a further one where calls wait and there is a core for it."""
        if not self._waiting or self._starting:
            return
        staying = [seat for seat in self._seats if not seat.leaving]
        if staying:
            used = sum(seat.worker.limits.cpu for seat in staying)
            most = staying[0].worker.bundle.spec.scaling.max
            waited = self._loop.time() - self._waiting[0][0]
            if waited < GROW_SECONDS or used + staying[0].worker.limits.cpu > self._cores:
                return
            if most is not None and len(staying) >= most:
                return
        self._starting += 1
        keeper = self._loop.create_task(self._keep(), name="worker for calls")
        self._keepers.add(keeper)
        keeper.add_done_callback(self._kept)

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        self._keepers.discard(keeper)
        if not keeper.cancelled() and keeper.exception() is not None:
            log.error("a worker for calls was lost", exc_info=keeper.exception())
        self._serve()

    async def _keep(self) -> None:
        """Have one worker lent for as long as calls use it."""
        began = True
        try:
            async with self._pool.lent(self.need) as lent:
                self._starting, began = self._starting - 1, False
                seat = Seat(lent)
                self._seats.append(seat)
                self._on_ready()
                self._serve()
                try:
                    await seat.free.wait()
                finally:
                    self._seats.remove(seat)
        except Exception as error:
            fault = as_fault(error)
            if fault is not error:
                log.exception("no worker for calls")
            self._fail(fault)
        finally:
            if began:
                self._starting -= 1

    def _fail(self, fault: RunFault) -> None:
        """No worker can be had: tell those who wait, unless another one serves them."""
        if self._seats:
            return
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(RunFault(fault.reason, fault.message))


def _overdue(future: asyncio.Future[Seat]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def living(workers: Sequence[Worker]) -> set[Need]:
    """Return the versions of which a worker that takes calls is ready."""
    return {worker.need for worker in workers if worker.is_ready and worker.bundle.is_onnx}
