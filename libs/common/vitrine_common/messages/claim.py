"""Messages about checks of claims."""

from __future__ import annotations

from typing import ClassVar, Literal

from vitrine_common.messages.envelope import Command, Event, Progress
from vitrine_common.states import ClaimState


class ClaimCheckStart(Command):
    """Check a claim; the request is read from `claim_requests`."""

    TYPE: ClassVar[str] = "claim.check"

    check_id: str
    device: Literal["cpu", "gpu"] = "cpu"

    def subject(self) -> str:
        """Return the subject of the kind of runner that can take it."""
        return f"claim.check.{self.device}"


class ClaimCancel(Command):
    """Stop a check, whether it waits or works."""

    TYPE: ClassVar[str] = "claim.cancel"

    check_id: str


class ClaimCancelling(Progress):
    """Heard by every runner: whoever holds the check stops it now."""

    TYPE: ClassVar[str] = "claim.cancelling"

    check_id: str


class ClaimChecked(Event):
    """A check reached its final state; `own_inputs` are files that whoever asked for it added."""

    TYPE: ClassVar[str] = "claim.checked"

    check_id: str
    version_id: str
    claim: str
    state: ClaimState
    own_inputs: int = 0


class ClaimProgress(Progress):
    """What a check does right now: which repeat of how many, and what the command prints."""

    TYPE: ClassVar[str] = "claim.progress"

    check_id: str
    state: ClaimState
    repeat: int = 0
    repeats: int = 1
    message: str = ""
    log: str = ""

    def subject(self) -> str:
        """Return the subject of this one check."""
        return f"claim.progress.{self.check_id}"
