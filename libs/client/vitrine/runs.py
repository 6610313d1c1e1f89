"""Runs: of one's own versions, or of a link's."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from vitrine.errors import ClientError, Misuse
from vitrine.results import Output, Page, Run, SharedModel
from vitrine.sse import ServerEvent
from vitrine.transport import Transport

MAX_WAIT = 60
_CHUNK = 256 * 1024
Heard = Callable[[ServerEvent], None]


class Runs:
    """The runs below one address of the API."""

    def __init__(self, transport: Transport, base: str) -> None:
        self._transport = transport
        self._base = base

    def start(
        self,
        path: str,
        inputs: Mapping[str, Any],
        wait: int = 0,
        wished: Mapping[str, Any] = MappingProxyType({}),
    ) -> Run:
        """Start a run. A `Path` among the inputs is a file that is sent; `wait` is in seconds, at most 60.

        `wished` is what the request says beside its inputs.

        Raises Refused, naming the inputs that are wrong.
        """
        headers = {"Prefer": f"wait={min(wait, MAX_WAIT)}"} if wait > 0 else {}
        files = {name: value for name, value in inputs.items() if isinstance(value, Path)}
        plain = {name: value for name, value in inputs.items() if name not in files}
        if not files:
            return self._started(path, headers, json={"inputs": plain, **wished})
        with ExitStack() as stack:
            parts: list[tuple[str, Any]] = [("inputs", (None, json.dumps(plain)))]
            for name, value in wished.items():
                parts += [(name, (None, one)) for one in ([value] if isinstance(value, str) else value)]
            for name, file in files.items():
                try:
                    handle = stack.enter_context(file.open("rb"))
                except OSError as error:
                    raise Misuse(f"{file} cannot be read: {error.strerror}") from error
                parts.append((f"input.{name}", (file.name, handle, media_type(file))))
            return self._started(path, headers, files=parts)

    def get(self, run_id: str) -> Run:
        """Return a run. Raises NotFound."""
        return Run.model_validate(self._transport.call("GET", self._path(run_id)))

    def list(self, **query: Any) -> Page[Run]:
        """Return a part of the list, newest first."""
        known = {key: value for key, value in query.items() if value is not None}
        return Page[Run].model_validate(self._transport.call("GET", self._base, params=known))

    def events(self, run_id: str) -> Iterator[ServerEvent]:
        """Yield the events of a run until its end: `state` and `end` with a run, `progress` with news."""
        return self._transport.follow(self._path(run_id) + "/events")

    def wait(self, run_id: str, heard: Heard | None = None) -> Run:
        """Follow a run to its end and return it; `heard` gets every event."""
        last: dict[str, Any] = {}
        for event in self.events(run_id):
            if heard:
                heard(event)
            if event.name == "end":
                last = event.json()
        return Run.model_validate(last) if last else self.get(run_id)

    def cancel(self, run_id: str) -> Run:
        """Stop a run."""
        return Run.model_validate(self._transport.call("POST", self._path(run_id) + "/cancel"))

    def save(self, output: Output, target: Path) -> Path:
        """Write a file output to `target`, whole or not at all. Raises ClientError when it is no file."""
        if not output.url:
            raise ClientError(f"The output {output.name} is not a file")
        partial = target.with_name(f".{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._transport.download(output.url) as answer, partial.open("wb") as file:
                for chunk in answer.iter_bytes(_CHUNK):
                    file.write(chunk)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _path(self, run_id: str) -> str:
        return f"{self._base}/{quote(run_id, safe='')}"

    def _started(self, path: str, headers: dict[str, str], **body: Any) -> Run:
        return Run.model_validate(self._transport.call("POST", path, headers=headers, **body))


class Shared:
    """A link as its holder sees it: no account is needed."""

    def __init__(self, transport: Transport, token: str) -> None:
        self._transport = transport
        self._path = f"/links/{quote(token, safe='')}"
        self.runs = Runs(transport, self._path + "/runs")

    def describe(self) -> SharedModel:
        """Return what the link shows. Raises NotFound for an unknown link, Gone, LinkLocked."""
        return SharedModel.model_validate(self._transport.call("GET", self._path))

    def unlock(self, passcode: str) -> None:
        """Get through a restricted link's door by its passcode. Raises Refused."""
        self._enter({"passcode": passcode})

    def ask_for_code(self, email: str) -> None:
        """Have a one-time code mailed, if the address is on the link's list. Raises Refused."""
        self._transport.call("POST", self._path + "/codes", json={"email": email})

    def unlock_by_code(self, email: str, code: str) -> None:
        """Get through a restricted link's door by the code that was mailed. Raises Refused."""
        self._enter({"email": email, "code": code})

    def _enter(self, answer: Mapping[str, str]) -> None:
        found = self._transport.call("POST", self._path + "/unlock", json=dict(answer))
        self._transport.extra["X-Vitrine-Pass"] = str(found["secret"])

    def run(self, inputs: Mapping[str, Any], wait: int = 0) -> Run:
        """Start a run; later calls are made as the same visitor. Raises Refused."""
        run = self.runs.start(self._path + "/runs", inputs, wait)
        if run.visitor:
            self._transport.extra["X-Vitrine-Visitor"] = run.visitor
        return run


def media_type(file: Path) -> str:
    """Return the media type that a file's name stands for."""
    return mimetypes.guess_type(file.name)[0] or "application/octet-stream"
