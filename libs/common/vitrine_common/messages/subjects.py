"""Streams and subjects: the one place where they are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vitrine_common.messages.build import BuildFailed, BuildProgress, BuildStart, BuildSucceeded
from vitrine_common.messages.call import CallRecord, CallRecorded, ModelAnswer, ModelCall
from vitrine_common.messages.claim import (
    ClaimCancel,
    ClaimCancelling,
    ClaimChecked,
    ClaimCheckStart,
    ClaimProgress,
)
from vitrine_common.messages.deletion import FilesForgotten, LinkDeleted, TrialDeleted, VersionDeleted
from vitrine_common.messages.envelope import Command, Event, Message
from vitrine_common.messages.run import (
    RunCancel,
    RunCancelling,
    RunExpected,
    RunFinished,
    RunProgress,
    RunStart,
    RunWaiting,
)
from vitrine_common.messages.runner import RunnerBeat
from vitrine_common.messages.trial import (
    TrainCancel,
    TrainCancelling,
    TrainStart,
    TrialFinished,
    TrialProgress,
    TrialStarted,
)
from vitrine_common.messages.version import (
    LinkChanged,
    LinkRevoked,
    VersionBuildFailed,
    VersionReady,
    VersionRegister,
)

COMMANDS = "VITRINE_COMMANDS"
EVENTS = "VITRINE_EVENTS"
DEAD_LETTERS = "VITRINE_DEAD"

DEAD_PREFIX = "dead"
"""A message that nobody could handle goes to `dead.<its subject>`, with the reason in its headers."""


@dataclass(frozen=True)
class Route:
    """How one kind of message travels: its subjects, who sends it and who acts on it."""

    message: type[Message]
    subjects: tuple[str, ...]
    senders: tuple[str, ...]
    receivers: tuple[str, ...] = field(default=())

    @property
    def stream(self) -> str | None:
        """The stream that keeps it, or None for live news."""
        if issubclass(self.message, Command):
            return COMMANDS
        return EVENTS if issubclass(self.message, Event) else None


ROUTES: tuple[Route, ...] = (
    Route(BuildStart, ("build.start",), ("api", "runner", "trainer"), ("builder",)),
    Route(RunStart, ("run.start.cpu", "run.start.gpu"), ("api", "runner"), ("runner",)),
    Route(RunCancel, ("run.cancel",), ("api",), ("runner",)),
    Route(CallRecord, ("call.record",), ("api",), ("runner",)),
    Route(ClaimCheckStart, ("claim.check.cpu", "claim.check.gpu"), ("api", "runner"), ("runner",)),
    Route(ClaimCancel, ("claim.cancel",), ("api",), ("runner",)),
    Route(TrainStart, ("train.start",), ("api", "trainer"), ("trainer",)),
    Route(TrainCancel, ("train.cancel",), ("api",), ("trainer",)),
    Route(VersionRegister, ("version.register",), ("trainer",), ("api",)),
    Route(BuildSucceeded, ("build.succeeded",), ("builder",), ("api", "trainer")),
    Route(BuildFailed, ("build.failed",), ("builder",), ("api", "trainer")),
    Route(
        RunFinished,
        ("run.succeeded", "run.failed", "run.cancelled", "run.expired"),
        ("runner",),
        ("api", "monitor"),
    ),
    Route(CallRecorded, ("call.recorded",), ("runner",), ("monitor",)),
    Route(ClaimChecked, ("claim.checked",), ("runner",), ("api",)),
    Route(TrialStarted, ("trial.started",), ("trainer",)),
    Route(TrialFinished, ("trial.finished",), ("trainer",)),
    Route(VersionReady, ("version.ready",), ("api",), ("runner",)),
    Route(VersionBuildFailed, ("version.build_failed",), ("api",)),
    Route(LinkRevoked, ("link.revoked",), ("api",), ("runner",)),
    Route(LinkChanged, ("link.changed",), ("api",)),
    Route(VersionDeleted, ("version.deleted",), ("api",), ("runner", "monitor", "builder")),
    Route(LinkDeleted, ("link.deleted",), ("api",), ("runner", "monitor")),
    Route(TrialDeleted, ("trial.deleted",), ("api",), ("trainer",)),
    Route(FilesForgotten, ("files.forgotten",), ("api",), ("runner",)),
    Route(BuildProgress, ("build.progress.*",), ("builder",), ("api",)),
    Route(RunProgress, ("run.progress.*",), ("runner",), ("api",)),
    Route(RunnerBeat, ("runner.beat",), ("runner",), ("runner", "api")),
    Route(RunExpected, ("run.expected",), ("api",), ("runner",)),
    Route(RunWaiting, ("run.waiting",), ("runner",), ("runner",)),
    Route(RunCancelling, ("run.cancelling",), ("runner",), ("runner",)),
    Route(ModelCall, ("infer.at.*", "infer.start.cpu", "infer.start.gpu"), ("api",), ("runner",)),
    Route(ModelAnswer, ("_INBOX.>",), ("runner",), ("api",)),
    Route(ClaimProgress, ("claim.progress.*",), ("runner",), ("api",)),
    Route(ClaimCancelling, ("claim.cancelling",), ("runner",), ("runner",)),
    Route(TrialProgress, ("trial.progress.*",), ("trainer",), ("api",)),
    Route(TrainCancelling, ("train.cancelling",), ("trainer",), ("trainer",)),
)


def subjects_of(stream: str) -> list[str]:
    """Return every subject that `stream` keeps."""
    if stream == DEAD_LETTERS:
        return [f"{DEAD_PREFIX}.>"]
    return [subject for route in ROUTES if route.stream == stream for subject in route.subjects]


STATUS = "service.status"
"""Request/reply subject on which every process of every service tells how it is."""


def health_subject(service: str) -> str:
    """Return the request/reply subject on which `service` answers that it is well."""
    return f"health.{service}"


MESSAGES: Mapping[str, type[Message]] = {route.message.TYPE: route.message for route in ROUTES}
