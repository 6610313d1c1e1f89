"""Messages about training."""

from __future__ import annotations

from typing import ClassVar

from vitrine_common.messages.envelope import Command, Event, Progress
from vitrine_common.states import Reason, TrialState


class TrainStart(Command):
    """Train; the request is read from `train_requests`."""

    TYPE: ClassVar[str] = "train.start"

    trial_id: str


class TrainCancel(Command):
    """Stop a trial, whether it waits or works."""

    TYPE: ClassVar[str] = "train.cancel"

    trial_id: str


class TrainCancelling(Progress):
    """Heard by every trainer: whoever holds the trial stops it now."""

    TYPE: ClassVar[str] = "train.cancelling"

    trial_id: str


class TrialStarted(Event):
    """The training command runs."""

    TYPE: ClassVar[str] = "trial.started"

    trial_id: str


class TrialFinished(Event):
    """A trial reached its final state."""

    TYPE: ClassVar[str] = "trial.finished"

    trial_id: str
    state: TrialState
    reason: Reason | None = None
    version_digest: str | None = None


class TrialProgress(Progress):
    """What a trial does right now."""

    TYPE: ClassVar[str] = "trial.progress"

    trial_id: str
    state: TrialState
    message: str = ""
    log: str = ""
    step: float | None = None
    metrics: dict[str, float] = {}

    def subject(self) -> str:
        """Return the subject of this one trial."""
        return f"trial.progress.{self.trial_id}"
