"""What ends a run other than well, as the runner sees it."""

from __future__ import annotations

from vitrine_common.errors import VitrineError
from vitrine_common.states import Reason


class RunFault(Exception):
    """A run cannot go on.

    Args:
        reason: whose fault it is; only `PLATFORM_ERROR` is tried again.
        message: a sentence for the person who started the run.
        log: what was printed before, where that is not in the run's log yet.
    """

    def __init__(self, reason: Reason, message: str, log: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.log = log


class ServedElsewhere(RunFault):
    """Other hosts have all the workers that the version may have: the run goes back to the queue for them."""

    def __init__(self) -> None:
        super().__init__(Reason.PLATFORM_ERROR, "All workers of this model are on other machines.")


def as_fault(error: Exception) -> RunFault:
    """Return `error` as a fault; what is nobody else's is the platform's."""
    if isinstance(error, RunFault):
        return error
    if isinstance(error, VitrineError):
        return RunFault(Reason.PLATFORM_ERROR, error.message)
    return RunFault(
        Reason.PLATFORM_ERROR, "The platform failed while it worked on this run; see the runner's log."
    )
