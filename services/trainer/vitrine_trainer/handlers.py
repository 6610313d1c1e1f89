"""What the trainer does when a message arrives."""

from __future__ import annotations

from typing import Annotated

from faststream import Context
from faststream.nats import NatsRouter

from vitrine_common.bus import Bus, Poison, on, on_live
from vitrine_common.errors import NotFound
from vitrine_common.messages import (
    BuildFailed,
    BuildSucceeded,
    Envelope,
    TrainCancel,
    TrainCancelling,
    TrainStart,
    TrialDeleted,
)
from vitrine_trainer.intake import Intake
from vitrine_trainer.repository import Trials
from vitrine_trainer.worker import Worker

router = NatsRouter()


@on(router, "trainer", "train.start", concurrency=4)
async def train_start(envelope: Envelope[TrainStart], intake: Annotated[Intake, Context("intake")]) -> None:
    """Write the trial down and ask for its environment."""
    try:
        await intake.accept(envelope.payload.trial_id)
    except NotFound as error:
        raise Poison(error.message) from error


@on(router, "trainer", "build.succeeded", concurrency=4)
async def build_succeeded(
    envelope: Envelope[BuildSucceeded],
    trials: Annotated[Trials, Context("trials")],
    worker: Annotated[Worker, Context("worker")],
) -> None:
    """Begin the trials that waited for this environment."""
    if await trials.environment_ready(envelope.payload.build_id, envelope.payload.environment_digest):
        worker.wake()


@on(router, "trainer", "build.failed", concurrency=4)
async def build_failed(envelope: Envelope[BuildFailed], trials: Annotated[Trials, Context("trials")]) -> None:
    """End the trials that waited for this environment."""
    await trials.environment_failed(envelope.payload.build_id)


@on(router, "trainer", "train.cancel", concurrency=4)
async def train_cancel(
    envelope: Envelope[TrainCancel],
    intake: Annotated[Intake, Context("intake")],
    bus: Annotated[Bus, Context("bus")],
) -> None:
    """Stop a trial, whether it waits or works."""
    await intake.cancel(envelope.payload.trial_id)
    await bus.tell(TrainCancelling(trial_id=envelope.payload.trial_id))


@on_live(router, "train.cancelling")
async def train_cancelling(
    envelope: Envelope[TrainCancelling], worker: Annotated[Worker, Context("worker")]
) -> None:
    """Stop the trial if it runs here."""
    worker.cancel(envelope.payload.trial_id)


@on(router, "trainer", "trial.deleted")
async def trial_deleted(
    envelope: Envelope[TrialDeleted], trials: Annotated[Trials, Context("trials")]
) -> None:
    """Delete what was recorded of the training."""
    await trials.erase(envelope.payload.trial_id)
