"""What the runner does when a message arrives."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from faststream import Context
from faststream.nats import NatsRouter
from faststream.nats.annotations import NatsMessage

from vitrine_common.bus import Poison, on, on_live
from vitrine_common.clock import utcnow
from vitrine_common.errors import NotFound
from vitrine_common.fleet import Fleet
from vitrine_common.messages import (
    CallRecord,
    ClaimCancel,
    ClaimCancelling,
    ClaimCheckStart,
    Envelope,
    FilesForgotten,
    LinkDeleted,
    LinkRevoked,
    RunCancel,
    RunCancelling,
    RunExpected,
    RunnerBeat,
    RunStart,
    RunWaiting,
    VersionDeleted,
    VersionReady,
    WarmEnvironment,
)
from vitrine_runner.call_book import CallBook
from vitrine_runner.cancellation import Cancellation
from vitrine_runner.claims import ClaimCancellation, ClaimWorker
from vitrine_runner.dispatch import Dispatcher
from vitrine_runner.erasing import Eraser
from vitrine_runner.expecting import Expecting
from vitrine_runner.keeping import Keeping
from vitrine_runner.warming import Warming
from vitrine_runner.worker import Need

NEWS = timedelta(minutes=10)
"""Age up to which a version counts as new: a runner that is itself new hears of all that there were."""

TheDispatcher = Annotated[Dispatcher, Context("dispatcher")]
TheExpecting = Annotated[Expecting, Context("expecting")]
TheCancellation = Annotated[Cancellation, Context("cancellation")]
TheFleet = Annotated[Fleet, Context("fleet")]
TheKeeping = Annotated[Keeping, Context("keeping")]
TheWarming = Annotated[Warming, Context("warming")]
TheRecording = Annotated[CallBook, Context("recording")]
TheEraser = Annotated[Eraser, Context("eraser")]
TheClaims = Annotated[ClaimWorker, Context("claims")]
TheClaimCancellation = Annotated[ClaimCancellation, Context("claim_cancellation")]


def make_routers(*, gpu: bool) -> list[NatsRouter]:
    """Return the handlers of one process; `gpu` says whether it takes runs that need a GPU."""
    router = NatsRouter()
    for device in ("cpu", "gpu") if gpu else ("cpu",):
        on(router, "runner", f"run.start.{device}")(run_start)
        on(router, "runner", f"claim.check.{device}")(claim_check)
    on(router, "runner", "run.cancel", concurrency=8)(run_cancel)
    on(router, "runner", "call.record")(call_record)
    on(router, "runner", "claim.cancel", concurrency=8)(claim_cancel)
    on(router, "runner", "link.revoked")(link_revoked)
    on(router, "runner", "version.ready")(version_ready)
    on(router, "runner", "version.deleted")(version_deleted)
    on(router, "runner", "link.deleted")(link_deleted)
    on_live(router, "files.forgotten")(files_forgotten)
    on_live(router, "run.expected")(run_expected)
    on_live(router, "run.waiting")(run_waiting)
    on_live(router, "runner.beat")(runner_beat)
    on_live(router, "run.cancelling")(run_cancelling)
    on_live(router, "claim.cancelling")(claim_cancelling)
    return [router]


async def run_start(envelope: Envelope[RunStart], message: NatsMessage, dispatcher: TheDispatcher) -> None:
    """Begin the run, or queue it; acknowledged once that is durable: then its document keeps it alive."""
    try:
        await dispatcher.start(envelope.payload.run_id, message.in_progress)
    except NotFound as error:
        raise Poison(error.message) from error


async def run_expected(envelope: Envelope[RunExpected], expecting: TheExpecting) -> None:
    """Have a worker ready by the time that the run is there."""
    asked = envelope.payload
    expecting.expect(Need(asked.version_digest, asked.environment_digest, asked.owner_id))


async def run_waiting(envelope: Envelope[RunWaiting], dispatcher: TheDispatcher) -> None:
    """Take note of a run that any host may take."""
    dispatcher.note_waiting(envelope.payload)


async def runner_beat(envelope: Envelope[RunnerBeat], fleet: TheFleet) -> None:
    """Take note of what a runner has to give."""
    fleet.hear(envelope.payload)


async def call_record(envelope: Envelope[CallRecord], recording: TheRecording) -> None:
    """Write synchronous calls down as runs."""
    await recording.record(envelope.payload.run_ids)


async def run_cancel(envelope: Envelope[RunCancel], cancellation: TheCancellation) -> None:
    """Cancel a waiting run, or have its holder stop it."""
    try:
        await cancellation.cancel_run(envelope.payload.run_id)
    except NotFound as error:
        raise Poison(error.message) from error


async def link_revoked(
    envelope: Envelope[LinkRevoked], cancellation: TheCancellation, claim_cancellation: TheClaimCancellation
) -> None:
    """Cancel what was asked for by a link that is no longer valid."""
    await cancellation.cancel_link(envelope.payload.link_id)
    await claim_cancellation.cancel_link(envelope.payload.link_id)


async def version_ready(envelope: Envelope[VersionReady], warming: TheWarming, keeping: TheKeeping) -> None:
    """Have the version's environment ready: whoever pushes a model soon runs it."""
    ready = envelope.payload
    keeping.look_again()
    is_news = utcnow() - envelope.occurred_at < NEWS
    if is_news and ready.environment_digest is not None and ready.owner_id is not None:
        place = WarmEnvironment(environment_digest=ready.environment_digest, owner_id=ready.owner_id)
        await warming.warm(place)


async def version_deleted(envelope: Envelope[VersionDeleted], eraser: TheEraser) -> None:
    """Delete the version's runs and checks."""
    await eraser.erase(version_id=envelope.payload.version_id)


async def link_deleted(envelope: Envelope[LinkDeleted], eraser: TheEraser) -> None:
    """Delete the link's runs and checks."""
    await eraser.erase(link_id=envelope.payload.link_id)


async def files_forgotten(envelope: Envelope[FilesForgotten], eraser: TheEraser) -> None:
    """Remove the files from this host."""
    await eraser.forget(envelope.payload.digests)


async def run_cancelling(envelope: Envelope[RunCancelling], dispatcher: TheDispatcher) -> None:
    """Stop the run if it is worked on here."""
    dispatcher.cancel(envelope.payload.run_id)


async def claim_check(envelope: Envelope[ClaimCheckStart], claims: TheClaims) -> None:
    """Write the check down; it is carried out when a slot is free, here or on another host."""
    try:
        await claims.accept(envelope.payload.check_id)
    except NotFound as error:
        raise Poison(error.message) from error


async def claim_cancel(envelope: Envelope[ClaimCancel], claim_cancellation: TheClaimCancellation) -> None:
    """Cancel a waiting check, or have its holder stop it."""
    try:
        await claim_cancellation.cancel(envelope.payload.check_id)
    except NotFound as error:
        raise Poison(error.message) from error


async def claim_cancelling(envelope: Envelope[ClaimCancelling], claims: TheClaims) -> None:
    """Stop the check if it is worked on here."""
    claims.cancel(envelope.payload.check_id)
