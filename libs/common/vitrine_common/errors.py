"""The exceptions that cross module borders. Each names its culprit and the way out.

They map one to one to HTTP problem details (RFC 9457); see `status`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (`field`, e.g. `inputs.image`) and what to do (`message`)."""

    field: str
    message: str


class VitrineError(Exception):
    """Base of every error that a caller is told about.

    Args:
        message: a sentence for a person: the culprit and the way out.
        problems: details by field, for forms and the command line.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class Invalid(VitrineError):
    """What was sent cannot be accepted as it is."""

    status = 422
    title = "The request is not valid"


class Unauthenticated(VitrineError):
    """Nobody is logged in, or the credentials are wrong."""

    status = 401
    title = "Log in first"


class Denied(VitrineError):
    """The principal is known and may not do this."""

    status = 403
    title = "Not allowed"


class NotFound(VitrineError):
    """It does not exist, or its existence is not for this principal to know."""

    status = 404
    title = "Not found"


class Conflict(VitrineError):
    """The present state of the resource does not allow it."""

    status = 409
    title = "Not possible in the present state"


class Gone(VitrineError):
    """It existed and was revoked, expired or deleted."""

    status = 410
    title = "No longer available"


class TooLarge(VitrineError):
    """A body, file or value is over its limit."""

    status = 413
    title = "Too large"


class TooMany(VitrineError):
    """A rate or quota is used up."""

    status = 429
    title = "Limit reached"


class Unavailable(VitrineError):
    """A server that this needs does not answer; the same call may succeed later."""

    status = 503
    title = "Temporarily unavailable"


class StaleState(Conflict):
    """A compare-and-set found another state, lease or revision than it was told to expect."""
