"""Lists in parts: by time, from a cursor on, served by an index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from vitrine_common.documents import Document
from vitrine_common.errors import Invalid
from vitrine_common.store import Collection

D = TypeVar("D", bound=Document)
T = TypeVar("T")

MAX_PAGE = 200
_IDS_AT_ONCE = 500
_CURSOR = re.compile(r"([0-9]{1,15})\.([0-9]{1,9})")
Where = Mapping[str, Any]


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and where the next one begins."""

    items: list[T]
    next: str | None


async def page_of(
    collection: Collection[D],
    where: Where,
    limit: int,
    after: str | None,
    *,
    newest_first: bool = True,
    by: str = "created_at",
) -> Page[D]:
    """Return up to `limit` documents in order of a time, which is that of their creation unless told.

    `after` is a page's `next`: the last time seen and how many documents of that very time were seen, so
    that an index on the time alone serves it. Raises Invalid for what is no cursor.
    """
    limit = max(1, min(limit, MAX_PAGE))
    bounded, skip = dict(where), 0
    if after is not None:
        at, skip = _read_cursor(after)
        bounded[by] = {"$lte" if newest_first else "$gte": at}
    order = ((by, -1 if newest_first else 1),)
    found = await collection.find(bounded, order, limit + 1, skip)
    items = found[:limit]
    if len(found) <= limit:
        return Page(items, None)
    last = _milliseconds(getattr(items[-1], by))
    seen = sum(_milliseconds(getattr(item, by)) == last for item in items)
    if after is not None and last == at:
        seen += skip
    return Page(items, f"{last}.{seen}")


async def by_ids(collection: Collection[D], ids: Iterable[str]) -> dict[str, D]:
    """Return those documents that exist, by id, in few queries however many are asked for."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, D] = {}
    for start in range(0, len(wanted), _IDS_AT_ONCE):
        batch = wanted[start : start + _IDS_AT_ONCE]
        documents = await collection.find({"_id": {"$in": batch}}, (("_id", 1),), len(batch))
        found |= {document.id: document for document in documents}
    return found


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _read_cursor(text: str) -> tuple[int, int]:
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise Invalid("after: is no cursor; take `next` of the page before")
    return int(match[1]), int(match[2])
