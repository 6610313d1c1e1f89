"""Every message of Vitrine: payloads, envelope, subjects and streams."""

from vitrine_common.messages.build import (
    BuildFailed,
    BuildProgress,
    BuildStart,
    BuildSucceeded,
    EnvironmentRequest,
)
from vitrine_common.messages.call import CallRecord, CallRecorded, ModelAnswer, ModelCall, Signature
from vitrine_common.messages.claim import (
    ClaimCancel,
    ClaimCancelling,
    ClaimChecked,
    ClaimCheckStart,
    ClaimProgress,
)
from vitrine_common.messages.deletion import FilesForgotten, LinkDeleted, TrialDeleted, VersionDeleted
from vitrine_common.messages.envelope import Command, Envelope, Event, Message, Progress, seal
from vitrine_common.messages.run import (
    RunCancel,
    RunCancelling,
    RunExpected,
    RunFinished,
    RunProgress,
    RunStart,
    RunWaiting,
    StreamedText,
)
from vitrine_common.messages.runner import GpuState, RunnerBeat, WarmEnvironment, WarmVersion
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

__all__ = [
    "BuildFailed",
    "BuildProgress",
    "BuildStart",
    "BuildSucceeded",
    "CallRecord",
    "CallRecorded",
    "ClaimCancel",
    "ClaimCancelling",
    "ClaimCheckStart",
    "ClaimChecked",
    "ClaimProgress",
    "Command",
    "Envelope",
    "EnvironmentRequest",
    "Event",
    "FilesForgotten",
    "GpuState",
    "LinkChanged",
    "LinkDeleted",
    "LinkRevoked",
    "Message",
    "ModelAnswer",
    "ModelCall",
    "Progress",
    "RunCancel",
    "RunCancelling",
    "RunExpected",
    "RunFinished",
    "RunProgress",
    "RunStart",
    "RunWaiting",
    "RunnerBeat",
    "Signature",
    "StreamedText",
    "TrainCancel",
    "TrainCancelling",
    "TrainStart",
    "TrialDeleted",
    "TrialFinished",
    "TrialProgress",
    "TrialStarted",
    "VersionBuildFailed",
    "VersionDeleted",
    "VersionReady",
    "VersionRegister",
    "WarmEnvironment",
    "WarmVersion",
    "seal",
]
