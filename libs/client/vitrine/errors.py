"""What can go wrong when Vitrine is called; each message names the culprit and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where, and what to write instead."""

    field: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part)
        return ": ".join(part for part in (place, self.field, self.message) if part)


class ClientError(Exception):
    """Base of every expected error.

    Attributes:
        message: a sentence for a person.
        faults: details by field, or by line of a file.
        advice: what to do next; may be empty.
    """

    def __init__(self, message: str, faults: tuple[Fault, ...] = (), advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.faults = faults
        self.advice = advice

    def document(self) -> dict[str, Any]:
        """Return the error as plain JSON."""
        listed = [
            {key: value for key, value in vars(fault).items() if value not in {None, ""}}
            for fault in self.faults
        ]
        found: dict[str, Any] = {"error": self.message, "problems": listed}
        return found | ({"advice": self.advice} if self.advice else {})


class Misuse(ClientError):
    """The call itself cannot be right: a reference, a link or an input that cannot be read."""


class BadBundle(ClientError):
    """The directory or file cannot be pushed as it is."""


class Unreachable(ClientError):
    """Nothing answers at the platform's address, or the connection broke for good."""


class Refused(ClientError):
    """The platform answered with an error.

    Attributes:
        status: the HTTP status.
        request_id: names the request in the platform's logs.
    """

    def __init__(
        self,
        message: str,
        faults: tuple[Fault, ...] = (),
        advice: str = "",
        *,
        status: int,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, faults, advice)
        self.status = status
        self.request_id = request_id

    def document(self) -> dict[str, Any]:
        """Return the error as plain JSON, with its status and request id."""
        return super().document() | {"status": self.status, "request_id": self.request_id}


class LoginNeeded(Refused):
    """Nobody is logged in, or the token is wrong, revoked or expired (401)."""


class LinkLocked(Refused):
    """A restricted link asks for a passcode or a code that is mailed; `ways` says which (401)."""

    ways: tuple[str, ...] = ()


class NotFound(Refused):
    """It does not exist, or is not yours (404)."""


class Gone(Refused):
    """It existed and was revoked, expired or used up (410)."""


class UploadFailed(ClientError):
    """A file could not be brought to the store."""
