"""How runs of a loaded model are carried out: one by one, in threads, in batches, or as tasks.

With one run at a time the author's code always runs on the main thread, as it would in a script: what
`setup` sets there (gradient mode, signal handlers) holds in `predict`.
"""

from __future__ import annotations

import asyncio
import ctypes
import queue
import signal
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from vitrine_harness.capture import Capture, current
from vitrine_harness.jobs import CancelationException, Failed, Job
from vitrine_harness.leftovers import Leftovers

HARNESS = __name__.partition(".")[0]


class NoModelError(Exception):
    """The model cannot be loaded; the message says why, `log` what was printed about it."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class Model(Protocol):
    """A loaded model. `serve` does one run; it raises `Failed`, or whatever the author's code raises."""

    def serve(self, job: Job) -> None:
        """Do one run."""


Finished = Callable[[Job], None]


class Executor(ABC):
    """Takes runs by `submit` from any thread and does them in `work`, which never returns."""

    def __init__(self, capture: Capture, finished: Finished) -> None:
        self.capture = capture
        self.finished = finished
        self.leftovers = Leftovers()

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a run whose inputs are there."""

    @abstractmethod
    def work(self) -> None:
        """Do runs, for ever, on the main thread."""

    def carry_out(self, job: Job, serve: Callable[[Job], None]) -> None:
        """Do one run and report its end."""
        token = current.set(job)
        self.capture.add(job)
        self.leftovers.begin()
        try:
            end = ended_by(job, lambda: serve(job))
        finally:
            current.reset(token)
            self.leftovers.end()
        self.capture.remove(job)
        job.end(*end)
        self.finished(job)


def ended_by(job: Job, work: Callable[[], None]) -> tuple[str | None, str]:
    """Do the work of a run and return the reason and message of its end."""
    try:
        job.check()
        work()
    except BaseException as error:
        return explain(job, error)
    return None, ""


def explain(job: Job, error: BaseException) -> tuple[str, str]:
    """Return reason and message of what a run's code raised; the traceback goes to the run's log."""
    if isinstance(error, Failed):
        return error.reason, str(error)
    if job.stopped is not None:
        return job.stopped, job.stop_message
    job.printed("stderr", told(error).encode("utf-8", "backslashreplace"))
    if isinstance(error, SystemExit):
        return "user_error", f"the model called sys.exit({error.code!r}) in the middle of a run"
    text = "".join(traceback.format_exception_only(error)).strip()[:1000]
    if isinstance(error, MemoryError):
        return "out_of_memory", text
    if isinstance(error, OSError) and error.errno in {28, 122}:
        return "disk_full", text
    return "user_error", text


def told(error: BaseException) -> str:
    """Return the traceback as the author would see it: without the frames of the harness around it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith(HARNESS):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


class MainThread(Executor):
    """One run after the other. Interrupted by a signal, so that a sleep or a read ends, too."""

    def __init__(self, model: Model, capture: Capture, finished: Finished) -> None:
        super().__init__(capture, finished)
        self._model = model
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._job: Job | None = None
        signal.signal(signal.SIGUSR1, self._interrupt)

    def submit(self, job: Job) -> None:
        """Take a run."""
        self._jobs.put(job)

    def work(self) -> None:
        """Do runs, for ever."""
        while True:
            self._job = self._jobs.get()
            try:
                self.carry_out(self._job, self._serve)
            except CancelationException:
                self._job.end_stopped()
                self.finished(self._job)

    def _serve(self, job: Job) -> None:
        main = threading.get_ident()
        with job.interrupted_by(lambda: signal.pthread_kill(main, signal.SIGUSR1)):
            self._model.serve(job)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        job = self._job
        if job is None or not job.executing:
            return
        if job.sending:
            job.missed = True
            return
        job.executing = False
        raise CancelationException


class Threads(Executor):
    """Several runs at a time, each in a thread."""

    def __init__(self, model: Model, count: int, capture: Capture, finished: Finished) -> None:
        super().__init__(capture, finished)
        self._model = model
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._count = count

    def submit(self, job: Job) -> None:
        """Take a run."""
        self._jobs.put(job)

    def work(self) -> None:
        """Do runs, for ever."""
        for number in range(self._count):
            threading.Thread(target=self._work, daemon=True, name=f"vitrine run {number}").start()
        threading.Event().wait()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                self.carry_out(job, self._serve)
            except CancelationException:
                job.end_stopped()
                self.finished(job)

    def _serve(self, job: Job) -> None:
        thread = threading.get_ident()
        with job.interrupted_by(lambda: _raise_in(thread)):
            self._model.serve(job)


def _raise_in(thread: int) -> None:
    """Raise in another thread, at its next step in Python (a call into C ends first)."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(CancelationException))


class Batches(Executor):
    """Runs that come close together are done by one call, on the main thread.

    A batch begins when it is full, or `wait` seconds after its first run. A run that is stopped ends at
    once; the batch goes on for the others.
    """

    def __init__(
        self, serve: Callable[[list[Job]], None], size: int, wait: float, capture: Capture, finished: Finished
    ) -> None:
        super().__init__(capture, finished)
        self._serve = serve
        self._size = size
        self._wait = wait
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def submit(self, job: Job) -> None:
        """Take a run."""
        self._jobs.put(job)

    def work(self) -> None:
        """Do batches, for ever."""
        while True:
            self._do([job for job in self._gather() if self._is_wanted(job)])

    def _gather(self) -> list[Job]:
        batch = [self._jobs.get()]
        end = time.monotonic() + self._wait
        while len(batch) < self._size:
            try:
                batch.append(self._jobs.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                break
        return batch

    def _is_wanted(self, job: Job) -> bool:
        if job.stopped is None:
            return True
        job.end_stopped()
        self.finished(job)
        return False

    def _do(self, batch: list[Job]) -> None:
        for job in batch:
            self.capture.add(job)
            job.on_stop(job.end_stopped)
        error: BaseException | None = None
        self.leftovers.begin()
        try:
            if batch:
                self._serve(batch)
        except BaseException as raised:
            error = raised
        finally:
            self.leftovers.end()
        for job in batch:
            end = (None, "") if error is None else explain(job, error)
            self.capture.remove(job)
            job.end(*end)
            self.finished(job)


class Tasks(Executor):
    """Several runs at a time as tasks of one event loop, for `async def predict`."""

    def __init__(
        self,
        serve: Callable[[Job], Any],
        loop: asyncio.AbstractEventLoop,
        capture: Capture,
        finished: Finished,
    ) -> None:
        super().__init__(capture, finished)
        self._serve = serve
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, job: Job) -> None:
        """Take a run."""
        self._loop.call_soon_threadsafe(self._begin, job)

    def work(self) -> None:
        """Do runs, for ever."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _begin(self, job: Job) -> None:
        task = self._loop.create_task(self._do(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, job: Job) -> None:
        current.set(job)  # a task has a context of its own
        self.capture.add(job)
        task = asyncio.current_task()
        assert task is not None
        end: tuple[str | None, str] = (None, "")
        self.leftovers.begin()
        try:
            with job.interrupted_by(lambda: self._cancel(task)):
                await self._serve(job)
        except BaseException as error:
            end = explain(job, error)
        finally:
            self.leftovers.end()
        self.capture.remove(job)
        job.end(*end)
        self.finished(job)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        self._loop.call_soon_threadsafe(task.cancel)
