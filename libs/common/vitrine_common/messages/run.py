"""Messages about runs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from vitrine_common.messages.envelope import Command, Event, Progress
from vitrine_common.states import Reason, RunState


class RunStart(Command):
    """Execute a run that the api has accepted; the request is read from `run_requests`."""

    TYPE: ClassVar[str] = "run.start"

    run_id: str
    device: Literal["cpu", "gpu"] = "cpu"

    def subject(self) -> str:
        """Return the subject of the kind of runner that can take it."""
        return f"run.start.{self.device}"


class RunCancel(Command):
    """Stop a run, whether it waits or works."""

    TYPE: ClassVar[str] = "run.cancel"

    run_id: str


class RunExpected(Progress):
    """Heard by every runner: a run of a version has been asked for, and is being checked and stored.

    Whoever will probably get it may have a worker ready by then. The run may never come.
    """

    TYPE: ClassVar[str] = "run.expected"

    version_digest: str
    environment_digest: str
    owner_id: str


class RunWaiting(Progress):
    """Heard by every runner: a run was put into the queue, and whoever has a free place may take it.

    It says what the run's document says, so that nobody has to read that first; times in milliseconds.
    """

    TYPE: ClassVar[str] = "run.waiting"

    run_id: str
    device: Literal["cpu", "gpu"] = "cpu"
    flow: str
    since: float
    expires_at: float
    version_digest: str
    environment_digest: str
    gpus: int = 0
    gpu_memory: int = 0


class RunCancelling(Progress):
    """Heard by every runner: whoever holds the run stops it now."""

    TYPE: ClassVar[str] = "run.cancelling"

    run_id: str


class RunFinished(Event):
    """A run reached its final state. The subject is that state: `run.succeeded` and so on."""

    TYPE: ClassVar[str] = "run.finished"

    run_id: str
    version_id: str
    state: RunState
    reason: Reason | None = None

    def subject(self) -> str:
        """Return `run.<state>`."""
        return f"run.{self.state.value}"


class StreamedText(BaseModel):
    """Text that an output gained: a piece of text, or lines of JSON of an output that is a list."""

    name: str
    start: int
    """How many characters of this output were told before."""
    text: str


class RunProgress(Progress):
    """What a run does right now: its state, a fraction, a line it printed, an output it streamed."""

    TYPE: ClassVar[str] = "run.progress"

    run_id: str
    state: RunState
    fraction: float | None = None
    message: str = ""
    log: str = ""
    outputs: list[StreamedText] = []

    def subject(self) -> str:
        """Return the subject of this one run."""
        return f"run.progress.{self.run_id}"
