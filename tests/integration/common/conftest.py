"""A bus and databases of several services on the real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from vitrine_common.bus import Bus, make_broker
from vitrine_common.documents import COLLECTIONS
from vitrine_common.settings import MongoSettings, NatsSettings
from vitrine_common.store import Database


@pytest.fixture
async def bus(fresh_nats: str) -> AsyncIterator[Bus]:
    settings = NatsSettings(url=fresh_nats)
    bus = Bus(make_broker(settings, "test"), settings, "test")
    await bus.connect()
    yield bus
    await bus.broker.stop()


@pytest.fixture
async def opened(
    bus: Bus, mongo_url: str, database_name: str, database: object
) -> AsyncIterator[Callable[[str], Database]]:
    """Opens the database as the named service sees it."""
    made: list[Database] = []
    settings = MongoSettings(url=mongo_url, database=database_name)

    def open_as(service: str) -> Database:
        made.append(Database(settings, service, bus))
        return made[-1]

    await open_as("test").ensure_indexes(COLLECTIONS)
    yield open_as
    for each in made:
        each.close()
