"""Answers that go on: server-sent events (WHATWG HTML, 9.2) and stored bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import TypeVar
from urllib.parse import quote

from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from vitrine_api.pictures import SAFE_TYPES
from vitrine_api.progress import Change, Follower
from vitrine_api.run_inputs import safe_filename
from vitrine_api.runs import RunRecord
from vitrine_api.scrubbed_streams import ScrubbedNews
from vitrine_common.blobs import BlobStore
from vitrine_common.errors import VitrineError

S = TypeVar("S")
SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"
EVENT_STREAM = "text/event-stream"


async def event_stream(
    follower: Follower[S], encode: Callable[[Change[S]], list[tuple[str, str]]]
) -> StreamingResponse:
    """Return a stream of what `encode` makes of each change, as (event, data).

    The first state is read before the answer begins, so that what may not be seen is a plain error.
    """
    changes = follower.changes()
    first = await anext(changes, None)

    async def lines() -> AsyncIterator[bytes]:
        yield format_sse_event(data_str=None, retry=2000)
        try:
            if first is not None:
                for line in _lines(first, encode):
                    yield line
            async for change in changes:
                for line in _lines(change, encode):
                    yield line
        except VitrineError as error:
            yield format_sse_event(event="problem", data_str=json.dumps(error.message))
        finally:
            await changes.aclose()

    return StreamingResponse(lines(), media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})


def _lines(change: Change[S], encode: Callable[[Change[S]], list[tuple[str, str]]]) -> list[bytes]:
    if change.kind == "still":
        return [format_sse_event(comment="still here")]
    return [format_sse_event(event=event, data_str=data) for event, data in encode(change)]


def json_events(
    describe: Callable[[S], BaseModel], news: ScrubbedNews | None = None
) -> Callable[[Change[S]], list[tuple[str, str]]]:
    """Return an encoder of states as JSON and of news: as they came, or as `news` makes them."""

    def encode(change: Change[S]) -> list[tuple[str, str]]:
        if change.state is None:
            told = change.news.payload if change.news else {}
            return [("progress", json.dumps(news(told) if news is not None else told))]
        events = [(change.kind, describe(change.state).model_dump_json(by_alias=True))]
        if news is not None and isinstance(change.state, RunRecord):
            news.began(change.state.state)
            rest = news.rest() if change.kind == "end" else None
            events[:0] = [("progress", json.dumps(rest))] if rest else []
        return events

    return encode


def without_news(
    encode: Callable[[Change[S]], list[tuple[str, str]]],
) -> Callable[[Change[S]], list[tuple[str, str]]]:
    """Return an encoder of states alone: news carry what a run prints, which is its content."""
    return lambda change: encode(change) if change.state is not None else []


async def blob_response(
    blobs: BlobStore,
    digest: str,
    media_type: str | None,
    filename: str | None,
    *,
    download: bool = False,
    tag: str | None = None,
) -> Response:
    """Return stored bytes so that a browser can only show or save them.

    They are somebody's: pictures of a safe kind are shown in place, everything else is saved, and nothing
    runs in the api's origin. `tag` is told in place of the digest. Raises BlobNotFound.
    """
    media_type = (media_type or "").split(";")[0].strip().lower()
    inline = media_type in SAFE_TYPES and not download
    name = safe_filename(filename or "", "file")
    headers = {
        "Content-Disposition": f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(name)}",
        "Content-Security-Policy": SANDBOX,
        "Cache-Control": "private, max-age=3600, immutable",
        "ETag": f'"{tag or digest}"',
    }
    stream = await blobs.open_stream(digest)
    headers["Content-Length"] = str(stream.size)

    async def chunks() -> AsyncIterator[bytes]:
        async with stream:
            async for chunk in stream:
                yield chunk

    safe_type = media_type if inline or _is_plain(media_type) else "application/octet-stream"
    return StreamingResponse(chunks(), media_type=safe_type, headers=headers)


def _is_plain(media_type: str) -> bool:
    kind, _, name = media_type.partition("/")
    plain = all(
        part and part.replace("-", "").replace(".", "").replace("+", "").isalnum() for part in (kind, name)
    )
    return plain and media_type not in {"text/html", "application/xhtml+xml", "image/svg+xml", "text/xml"}
