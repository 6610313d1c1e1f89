"""Venues of the account, as chair and as author, by the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from vitrine.results import Page, Result
from vitrine.transport import Transport


class Venue(Result):
    """A venue; `submit_url` is where authors submit."""

    id: str
    name: str
    state: str
    deadline: datetime | None = None
    deadline_text: str = ""
    takes_submissions: bool = False
    blind: bool = True
    submit_url: str = ""


class Reviewer(Result):
    """Somebody on a roster; `url` is their page."""

    id: str
    name: str
    email: str
    url: str
    assigned: int = 0
    finished: int = 0


class Check(Result):
    """One check of a submission."""

    check: str
    state: str
    words: str
    detail: str = ""


class Row(Result):
    """A submission in the matrix."""

    id: str
    number: int
    paper_id: str
    title: str
    author: str = ""
    version: str = ""
    checks: tuple[Check, ...] = ()
    reviews: int = 0
    finished: int = 0
    decision: str = ""


class Matrix(Result):
    """Submission by check, and how far reviewers are."""

    rows: tuple[Row, ...] = ()
    reviewers: tuple[Reviewer, ...] = ()
    unfinished_checks: int = 0


class Submission(Result):
    """A submission of one's own; `warnings` say what in it would tell who wrote it."""

    id: str
    venue: str = ""
    number: int
    paper_id: str
    title: str
    decision: str = ""
    warnings: tuple[str, ...] = ()


class Venues:
    """What chairs and authors do. Every method raises a `vitrine.errors.ClientError`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._call = transport.call

    def create(self, name: str, deadline: str, **wishes: Any) -> Venue:
        """Make a venue; `wishes` are the fields of the HTTP API."""
        body = {"name": name, "deadline": deadline, **wishes}
        return Venue.model_validate(self._call("POST", "/venues", json=body))

    def all(self) -> Page[Venue]:
        """Return the venues that the account chairs, newest first."""
        return Page[Venue].model_validate(self._call("GET", "/venues"))

    def submit(
        self, ref: str, link: str, paper_id: str, title: str, conflicts: Sequence[str] = ()
    ) -> Submission:
        """Submit a version by a venue's address; the same paper id again replaces it."""
        body = {"ref": ref, "paper_id": paper_id, "title": title, "conflicts": list(conflicts)}
        path = f"/calls/{quote(_token(link), safe='')}/submissions"
        return Submission.model_validate(self._call("POST", path, json=body))

    def submissions(self) -> Page[Submission]:
        """Return what the account submitted, newest first."""
        return Page[Submission].model_validate(self._call("GET", "/submissions"))

    def withdraw(self, submission_id: str) -> None:
        """Take a submission back."""
        self._call("DELETE", f"/submissions/{submission_id}")

    def add_reviewers(self, venue_id: str, lines: str) -> Page[Reviewer]:
        """Put `Name <address>` lines on the roster; each is mailed their page."""
        answer = self._call("POST", f"/venues/{venue_id}/reviewers", json={"lines": lines})
        return Page[Reviewer].model_validate(answer)

    def balance(self, venue_id: str, per_submission: int) -> Mapping[str, Any]:
        """Assign reviewers evenly; return how many were `made` and where some are `lacking`."""
        body = {"per_submission": per_submission}
        found: Mapping[str, Any] = self._call("POST", f"/venues/{venue_id}/assignments/balance", json=body)
        return found

    def remind(self, venue_id: str) -> int:
        """Mail reviewers who have not finished; return how many."""
        return int(self._call("POST", f"/venues/{venue_id}/reminders")["reminded"])

    def check(self, venue_id: str) -> int:
        """Run every submission and check its claims, a few at a time; return how many checks."""
        return int(self._call("POST", f"/venues/{venue_id}/checks")["asked"])

    def matrix(self, venue_id: str) -> Matrix:
        """Return submission by check."""
        return Matrix.model_validate(self._call("GET", f"/venues/{venue_id}/matrix"))

    def export(self, venue_id: str) -> bytes:
        """Return the matrix as CSV."""
        with self._transport.download(f"/venues/{venue_id}/export") as answer:
            return answer.read()

    def decide(self, venue_id: str, submission_id: str, decision: str, note: str = "") -> None:
        """Write down a decision; authors learn it by `publish`."""
        body = {"decision": decision, "note": note}
        self._call("PUT", f"/venues/{venue_id}/submissions/{submission_id}/decision", json=body)

    def publish(self, venue_id: str, *, release_reviews: bool = False) -> Venue:
        """Tell authors what was decided."""
        body = {"release_reviews": release_reviews}
        return Venue.model_validate(self._call("POST", f"/venues/{venue_id}/publish", json=body))

    def unblind(self, venue_id: str, *, reveal: bool = False) -> Venue:
        """Tell the chair, and reviewers if so wished, who submitted."""
        body = {"reveal_to_reviewers": reveal}
        return Venue.model_validate(self._call("POST", f"/venues/{venue_id}/unblind", json=body))

    def close(self, venue_id: str) -> Venue:
        """End every page and link of a venue."""
        return Venue.model_validate(self._call("POST", f"/venues/{venue_id}/close"))


def _token(link: str) -> str:
    return urlsplit(link.strip()).path.rstrip("/").rpartition("/")[2]
