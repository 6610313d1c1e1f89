"""State machines: one table each. Nothing else in Vitrine decides which status may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class StateMachine(Generic[S]):
    """A table of allowed transitions.

    `active` are the states in which a worker holds a lease: a dead lease there means dead work.
    """

    name: str
    initial: S
    transitions: Mapping[S, frozenset[S]]
    active: frozenset[S]

    def sources(self, target: S) -> list[S]:
        """Return the states from which `target` may be entered, in the enum's order."""
        return [state for state in type(target) if target in self.transitions[state]]

    def is_final(self, state: S) -> bool:
        """Say whether nothing can follow `state`."""
        return not self.transitions[state]

    @property
    def final(self) -> list[S]:
        """The states that nothing follows."""
        return [state for state in type(self.initial) if self.is_final(state)]


class VersionState(StrEnum):
    """Where a model version stands."""

    DRAFT = "draft"
    BUILDING = "building"
    READY = "ready"
    BUILD_FAILED = "build_failed"


class BuildState(StrEnum):
    """Where the making of an environment stands."""

    QUEUED = "queued"
    BUILDING = "building"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RunState(StrEnum):
    """Where one execution of a version stands."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SAVING = "saving"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class TrialState(StrEnum):
    """Where one training job stands."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """Where a message to a webhook stands."""

    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


class MailState(StrEnum):
    """Where an e-mail stands."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class ClaimState(StrEnum):
    """Where the check of a claim stands; `reproduced`, `differs` and `failed` are verdicts."""

    QUEUED = "queued"
    RUNNING = "running"
    SAVING = "saving"
    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class VenueState(StrEnum):
    """Where a venue stands: it collects and reviews, has told its decisions, or is over."""

    OPEN = "open"
    DECIDED = "decided"
    CLOSED = "closed"


class ProbeState(StrEnum):
    """Where a check stands that a venue's chair asked for."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


VERDICTS = (ClaimState.REPRODUCED, ClaimState.DIFFERS, ClaimState.FAILED)


class Reason(StrEnum):
    """Why a run, build or trial ended other than well. `RETRIED` names those worth another try."""

    USER_ERROR = "user_error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    OUTPUT_TOO_LARGE = "output_too_large"
    SANDBOX_VIOLATION = "sandbox_violation"
    INPUT_INVALID = "input_invalid"
    BUILD_FAILED = "build_failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PLATFORM_ERROR = "platform_error"


RETRIED = frozenset({Reason.PLATFORM_ERROR})

VERSION = StateMachine(
    "version",
    VersionState.DRAFT,
    {
        VersionState.DRAFT: frozenset({VersionState.BUILDING}),
        VersionState.BUILDING: frozenset({VersionState.READY, VersionState.BUILD_FAILED}),
        VersionState.READY: frozenset(),
        VersionState.BUILD_FAILED: frozenset({VersionState.BUILDING}),
    },
    active=frozenset(),
)

BUILD = StateMachine(
    "build",
    BuildState.QUEUED,
    {
        BuildState.QUEUED: frozenset({BuildState.BUILDING, BuildState.FAILED}),
        BuildState.BUILDING: frozenset({BuildState.QUEUED, BuildState.SUCCEEDED, BuildState.FAILED}),
        BuildState.SUCCEEDED: frozenset(),
        BuildState.FAILED: frozenset(),
    },
    active=frozenset({BuildState.BUILDING}),
)

_RUN_ENDS = frozenset({RunState.FAILED, RunState.CANCELLED})
RUN = StateMachine(
    "run",
    RunState.QUEUED,
    {
        RunState.QUEUED: _RUN_ENDS | {RunState.STARTING, RunState.EXPIRED},
        RunState.STARTING: _RUN_ENDS | {RunState.QUEUED, RunState.RUNNING},
        RunState.RUNNING: _RUN_ENDS | {RunState.QUEUED, RunState.SAVING},
        RunState.SAVING: _RUN_ENDS | {RunState.QUEUED, RunState.SUCCEEDED},
        RunState.SUCCEEDED: frozenset(),
        RunState.FAILED: frozenset(),
        RunState.CANCELLED: frozenset(),
        RunState.EXPIRED: frozenset(),
    },
    active=frozenset({RunState.STARTING, RunState.RUNNING, RunState.SAVING}),
)

_TRIAL_ENDS = frozenset({TrialState.FAILED, TrialState.CANCELLED})
TRIAL = StateMachine(
    "trial",
    TrialState.QUEUED,
    {
        TrialState.QUEUED: _TRIAL_ENDS | {TrialState.PREPARING},
        TrialState.PREPARING: _TRIAL_ENDS | {TrialState.RUNNING},
        TrialState.RUNNING: _TRIAL_ENDS | {TrialState.PREPARING, TrialState.SUCCEEDED},
        TrialState.SUCCEEDED: frozenset(),
        TrialState.FAILED: frozenset(),
        TrialState.CANCELLED: frozenset(),
    },
    active=frozenset({TrialState.RUNNING}),
)

MAIL = StateMachine(
    "mail",
    MailState.WAITING,
    {
        MailState.WAITING: frozenset({MailState.SENDING}),
        MailState.SENDING: frozenset({MailState.WAITING, MailState.SENT, MailState.FAILED}),
        MailState.SENT: frozenset(),
        MailState.FAILED: frozenset(),
    },
    active=frozenset({MailState.SENDING}),
)

DELIVERY = StateMachine(
    "webhook delivery",
    DeliveryState.WAITING,
    {
        DeliveryState.WAITING: frozenset({DeliveryState.SENDING}),
        DeliveryState.SENDING: frozenset(
            {DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.FAILED}
        ),
        # Whoever repaired their end may have it sent again.
        DeliveryState.DELIVERED: frozenset({DeliveryState.WAITING}),
        DeliveryState.FAILED: frozenset({DeliveryState.WAITING}),
    },
    active=frozenset({DeliveryState.SENDING}),
)

CLAIM_CHECK = StateMachine(
    "claim check",
    ClaimState.QUEUED,
    {
        ClaimState.QUEUED: frozenset(
            {ClaimState.RUNNING, ClaimState.FAILED, ClaimState.CANCELLED, ClaimState.EXPIRED}
        ),
        ClaimState.RUNNING: frozenset(
            {ClaimState.QUEUED, ClaimState.SAVING, ClaimState.FAILED, ClaimState.CANCELLED}
        ),
        ClaimState.SAVING: frozenset({ClaimState.QUEUED, ClaimState.CANCELLED, *VERDICTS}),
        ClaimState.REPRODUCED: frozenset(),
        ClaimState.DIFFERS: frozenset(),
        ClaimState.FAILED: frozenset(),
        ClaimState.CANCELLED: frozenset(),
        ClaimState.EXPIRED: frozenset(),
    },
    active=frozenset({ClaimState.RUNNING, ClaimState.SAVING}),
)

VENUE = StateMachine(
    "venue",
    VenueState.OPEN,
    {
        VenueState.OPEN: frozenset({VenueState.DECIDED, VenueState.CLOSED}),
        VenueState.DECIDED: frozenset({VenueState.CLOSED}),
        VenueState.CLOSED: frozenset(),
    },
    active=frozenset(),
)

PROBE = StateMachine(
    "probe",
    ProbeState.WAITING,
    {
        ProbeState.WAITING: frozenset({ProbeState.STARTING}),
        ProbeState.STARTING: frozenset({ProbeState.WAITING, ProbeState.RUNNING, ProbeState.FAILED}),
        ProbeState.RUNNING: frozenset({ProbeState.PASSED, ProbeState.FAILED}),
        ProbeState.PASSED: frozenset(),
        ProbeState.FAILED: frozenset(),
    },
    active=frozenset({ProbeState.STARTING}),
)
