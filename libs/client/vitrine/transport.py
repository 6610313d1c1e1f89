"""HTTP to one platform: authorization, problem details as exceptions, patience, event streams."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from vitrine import errors
from vitrine.errors import ClientError, Fault, Misuse, Refused, Unreachable
from vitrine.sse import ServerEvent, read_events, split_lines

API = "/api/v1"
USER_AGENT = "vitrine/0.1.0"
_KINDS: dict[int, type[Refused]] = {401: errors.LoginNeeded, 404: errors.NotFound, 410: errors.Gone}
_ADVICE = {
    401: "Log in: vitrine login",
    413: "Send less, or ask the operator for a higher limit.",
    429: "Wait a moment and try again.",
    503: "Try again in a moment; `vitrine status` says what runs.",
}
_PASSING = frozenset({429, 502, 503, 504})
_SAFE = frozenset({"GET", "PUT", "DELETE"})
_LONGEST_PAUSE = 10.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How often and how long it is tried again, in seconds, and how a pause is made."""

    attempts: int = 4
    first_pause: float = 0.3
    pause: Any = field(default=time.sleep)

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each further attempt."""
        for attempt in range(self.attempts - 1):
            yield min(self.first_pause * 2**attempt, _LONGEST_PAUSE)


class Transport:
    """Calls one platform. `extra` headers go with every call; usable by several threads at once."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        http: httpx.Client | None = None,
        extra: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        place = urlsplit(url)
        if place.scheme not in {"http", "https"} or not place.netloc:
            raise Misuse(f"`{url}` is not the address of a platform", advice="Write http://host:port.")
        self.url = url.rstrip("/")
        self.token = token
        self.extra = dict(extra or {})
        self.patience = patience or Patience()
        self.http = http or httpx.Client(timeout=httpx.Timeout(30, read=120))

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def address(self, path: str) -> str:
        """Return the full URL of an API path, or of a path or URL that the platform gave."""
        if path.startswith(self.url + "/"):
            return path
        if "://" in path:
            raise ClientError(f"The platform at {self.url} sent us to {path}, which is another one.")
        return self.url + (path if path.startswith(API + "/") else API + path)

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Return the answer's JSON (None without content). Raises Refused and Unreachable.

        What may be repeated is repeated when the platform is busy or away for a moment.
        """
        response = self._patiently(method, path, request)
        if response.status_code == 204 or not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise self._stranger() from None

    @contextmanager
    def download(self, path: str) -> Iterator[httpx.Response]:
        """Open the answer as a stream of bytes. Raises Refused and Unreachable."""
        with self._reaching(), self.http.stream("GET", self.address(path), headers=self._headers()) as answer:
            if answer.is_error:
                answer.read()
                raise self._refusal(answer)
            yield answer

    def save(self, address: str, path: Path) -> int:
        """Write the answer to a file, whole or not at all; return its size. Raises also ClientError."""
        size = 0
        temporary = path.with_name(f".{path.name}.part")
        try:
            with self.download(address) as answer, temporary.open("wb") as file:
                for chunk in answer.iter_bytes(_CHUNK):
                    size += file.write(chunk)
            temporary.replace(path)
        except OSError as error:
            raise ClientError(f"{path} cannot be written: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return size

    def follow(self, path: str) -> Iterator[ServerEvent]:
        """Yield the events of a stream up to and with `end`; a broken stream is opened again.

        The platform begins each stream with the present state, so nothing that matters is missed.
        """
        failed = 0
        while True:
            try:
                for event in self._events(path):
                    failed = 0
                    yield event
                    if event.name == "end":
                        return
            except Unreachable:
                if failed + 1 >= self.patience.attempts:
                    raise
            failed += 1
            if failed >= self.patience.attempts:
                raise Unreachable(f"{self.url} closes the stream of events before its end.")
            self.patience.pause(min(self.patience.first_pause * 2**failed, _LONGEST_PAUSE))

    def _events(self, path: str) -> Iterator[ServerEvent]:
        headers = self._headers() | {"Accept": "text/event-stream"}
        with self._reaching(), self.http.stream("GET", self.address(path), headers=headers) as answer:
            if answer.is_error:
                answer.read()
                if answer.status_code in _PASSING:
                    raise Unreachable(self._refusal(answer).message, advice=_ADVICE[503])
                raise self._refusal(answer)
            yield from read_events(split_lines(answer.iter_bytes()))

    def _patiently(self, method: str, path: str, request: dict[str, Any]) -> httpx.Response:
        pauses = self.patience.pauses() if method in _SAFE and "content" not in request else iter(())
        while True:
            try:
                response = self._once(method, path, request)
            except Unreachable as error:
                pause = None if _is_refused(error) else next(pauses, None)
                if pause is None:
                    raise
            else:
                if not response.is_error:
                    return response
                pause = next(pauses, None) if response.status_code in _PASSING else None
                if pause is None:
                    raise self._refusal(response)
                pause = max(pause, _retry_after(response))
            self.patience.pause(pause)

    def _once(self, method: str, path: str, request: dict[str, Any]) -> httpx.Response:
        headers = self._headers() | request.get("headers", {})
        with self._reaching():
            return self.http.request(method, self.address(path), **{**request, "headers": headers})

    def _headers(self) -> dict[str, str]:
        known = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"User-Agent": USER_AGENT, **self.extra, **known}

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise Unreachable(
                f"Nothing answers at {self.url}.",
                advice="Start it with `vitrine up`, or name another platform: vitrine login --url URL",
            ) from error
        except httpx.TimeoutException as error:
            advice = "Try again; `vitrine status` says what runs on this machine."
            raise Unreachable(f"{self.url} does not answer in time.", advice=advice) from error
        except httpx.TransportError as error:
            raise Unreachable(f"The connection to {self.url} broke: {error}", advice="Try again.") from error

    def _refusal(self, response: httpx.Response) -> ClientError:
        """Return the exception for an answer that is an error (problem details, RFC 9457)."""
        problem = _problem(response)
        if problem is None:
            return self._stranger(response.status_code)
        status = response.status_code
        listed = problem.get("errors") or ()
        faults = tuple(Fault(str(one.get("field", "")), str(one.get("message", ""))) for one in listed)
        message = problem.get("detail") or problem.get("title") or response.reason_phrase
        advice = _ADVICE.get(status, "")
        if status >= 500 and problem.get("request_id"):
            advice = f"{advice} The request is {problem['request_id']}.".strip()
        if "ways" in problem:
            advice = "Give --passcode CODE, or --email ADDRESS for a code that is mailed."
            locked = errors.LinkLocked(str(message), faults, advice, status=status)
            locked.ways = tuple(problem["ways"])
            return locked
        if status == 401 and self.token and not response.url.path.endswith("/login"):
            advice = "The token is not valid any more. Log in: vitrine login"
        return _KINDS.get(status, Refused)(
            str(message), faults, advice, status=status, request_id=problem.get("request_id")
        )

    def _stranger(self, status: int | None = None) -> ClientError:
        said = f" (it said {status})" if status else ""
        return ClientError(
            f"What answers at {self.url} is not Vitrine{said}.",
            advice="Check the address: vitrine login --url URL",
        )


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    try:
        content = response.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) and "title" in content else None


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE) if text.isdigit() else 0.0


def _is_refused(error: Unreachable) -> bool:
    return isinstance(error.__cause__, httpx.ConnectError)
