"""What tests of MongoDB operations have in common."""

from __future__ import annotations

from typing import Any

Collection = Any
NOW = 1_772_368_215_123
"""A time as the services store it: milliseconds since the epoch."""
SECOND = 1_000


async def found(items: Collection, query: dict[str, Any]) -> list[Any]:
    """The sorted ids of the documents that match."""
    return sorted([document["_id"] async for document in items.find(query, {"_id": 1})])
