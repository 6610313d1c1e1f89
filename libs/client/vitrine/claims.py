"""Claims and their checks: of one's own versions, or of a link's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vitrine.errors import Misuse
from vitrine.results import Check, Claim, Page
from vitrine.runs import Heard, media_type
from vitrine.sse import ServerEvent
from vitrine.transport import Transport

Own = tuple[Path, str]
"""A file that is added to a claim's dataset, and its label (empty where none is asked for)."""


class Claims:
    """The claims of one version.

    Args:
        transport: to the platform.
        listing: where the claims are.
        base: where the checks are.
        ref: names the version; empty where the address does.
    """

    def __init__(self, transport: Transport, listing: str, base: str, ref: str = "") -> None:
        self._transport = transport
        self._listing = listing
        self._base = base
        self._ref = ref

    def list(self) -> tuple[Claim, ...]:
        """Return the claims and how their checks ended."""
        return tuple(Claim.model_validate(item) for item in self._transport.call("GET", self._listing))

    def check(self, name: str, own: Sequence[Own] = ()) -> Check:
        """Have a claim checked; later calls are made as the same visitor. Raises Refused."""
        body = {"claim": name} | ({"ref": self._ref} if self._ref else {})
        check = Check.model_validate(self._started(body, own))
        if check.visitor:
            self._transport.extra["X-Vitrine-Visitor"] = check.visitor
        return check

    def _started(self, body: dict[str, str], own: Sequence[Own]) -> Any:
        if not own:
            return self._transport.call("POST", self._base, json=body)
        with ExitStack() as stack:
            parts: list[tuple[str, Any]] = [(key, (None, value)) for key, value in body.items()]
            for path, label in own:
                try:
                    handle = stack.enter_context(path.open("rb"))
                except OSError as error:
                    raise Misuse(f"{path} cannot be read: {error.strerror}") from error
                parts += [("file", (path.name, handle, media_type(path))), ("label", (None, label))]
            return self._transport.call("POST", self._base, files=parts)

    def get(self, check_id: str) -> Check:
        """Return a check. Raises NotFound."""
        return Check.model_validate(self._transport.call("GET", self._path(check_id)))

    def checks(self, limit: int = 50) -> Page[Check]:
        """Return checks, newest first."""
        params = {"limit": limit} | ({"version": self._ref} if self._ref else {})
        return Page[Check].model_validate(self._transport.call("GET", self._base, params=params))

    def events(self, check_id: str) -> Iterator[ServerEvent]:
        """Yield the events of a check until its end: `state` and `end` with a check, `progress` with news."""
        return self._transport.follow(self._path(check_id) + "/events")

    def wait(self, check: Check, heard: Heard | None = None) -> Check:
        """Follow a check to its end and return it; `heard` gets every event."""
        last: dict[str, Any] = {}
        for event in () if check.final else self.events(check.id):
            if heard:
                heard(event)
            if event.name == "end":
                last = event.json()
        return Check.model_validate(last) if last else self.get(check.id)

    def cancel(self, check_id: str) -> Check:
        """Stop a check."""
        return Check.model_validate(self._transport.call("POST", self._path(check_id) + "/cancel"))

    def receipt(self, check: Check) -> bytes:
        """Return the signed receipt of a check with a verdict. Raises NotFound."""
        with self._transport.download(check.receipt_url or self._path(check.id) + "/receipt") as answer:
            return answer.read()

    def _path(self, check_id: str) -> str:
        return f"{self._base}/{quote(check_id, safe='')}"
