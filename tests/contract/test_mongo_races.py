"""Racing writers, and writes that were acknowledged before a kill."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ASCENDING, ReturnDocument
from pymongo.errors import BulkWriteError, DuplicateKeyError

from mongo_items import NOW, SECOND, Collection, found
from servers import mongo_server


async def test_racing_claimers_take_each_job_once(items: Collection) -> None:
    await items.insert_many([{"_id": n, "state": "queued", "at": NOW + n * SECOND} for n in range(80)])

    async def claim_all(name: str) -> list[int]:
        taken = []
        while document := await items.find_one_and_update(
            {"state": "queued", "$or": [{"lease": None}, {"lease.expires_at": {"$lt": NOW}}]},
            {
                "$set": {"state": "starting", "lease": {"token": name, "expires_at": NOW}},
                "$inc": {"attempts": 1},
            },
            sort=[("at", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        ):
            assert document["lease"]["token"] == name
            taken.append(document["_id"])
        return taken

    taken = await asyncio.gather(*(claim_all(f"worker-{n}") for n in range(8)))
    assert sorted(itertools.chain.from_iterable(taken)) == list(range(80))
    assert await items.count_documents({"attempts": 1, "state": "starting"}) == 80


async def test_racing_compare_and_set_has_one_winner(items: Collection) -> None:
    await items.insert_one({"_id": 1, "revision": 0, "outbox": {}})

    async def change(n: int) -> int:
        result = await items.update_one(
            {"_id": 1, "revision": 0}, {"$set": {f"outbox.e{n}": {"n": n}}, "$inc": {"revision": 1}}
        )
        return int(result.modified_count)

    assert sum(await asyncio.gather(*(change(n) for n in range(20)))) == 1
    document = await items.find_one({"_id": 1})
    assert document["revision"] == 1
    assert len(document["outbox"]) == 1


async def test_concurrent_increments_all_count(items: Collection) -> None:
    await items.insert_one({"_id": 1, "n": 0})
    await asyncio.gather(*(items.update_one({"_id": 1}, {"$inc": {"n": 1}}) for _ in range(300)))
    assert (await items.find_one({"_id": 1}))["n"] == 300


async def test_concurrent_outbox_entries_all_stay(items: Collection) -> None:
    await items.insert_one({"_id": 1, "outbox": {}, "outbox_count": 0})
    await asyncio.gather(
        *(
            items.update_one({"_id": 1}, {"$set": {f"outbox.e{n}": {"n": n}}, "$inc": {"outbox_count": 1}})
            for n in range(60)
        )
    )
    document = await items.find_one({"_id": 1})
    assert document["outbox"] == {f"e{n}": {"n": n} for n in range(60)}
    assert document["outbox_count"] == 60


async def test_concurrent_upserts_of_one_key_make_one_document(items: Collection) -> None:
    async def touch() -> None:
        try:
            await items.update_one({"_id": "one"}, {"$inc": {"n": 1}}, upsert=True)
        except DuplicateKeyError:  # MongoDB may answer this to a racing upsert: the caller tries again
            await items.update_one({"_id": "one"}, {"$inc": {"n": 1}}, upsert=True)

    await asyncio.gather(*(touch() for _ in range(30)))
    assert await items.find({}).to_list(None) == [{"_id": "one", "n": 30}]


async def test_racing_inserts_under_a_unique_index_have_one_winner(items: Collection) -> None:
    await items.create_index("key", unique=True)

    async def insert(n: int) -> int:
        try:
            await items.insert_one({"_id": n, "key": "same"})
        except DuplicateKeyError:
            return 0
        return 1

    assert sum(await asyncio.gather(*(insert(n) for n in range(20)))) == 1
    assert await items.count_documents({}) == 1


async def test_databases_and_collections_are_apart(
    mongo_client: Any, database: Any, items: Collection
) -> None:
    other = f"{database.name}_other"
    await items.insert_one({"_id": 1})
    await mongo_client[other][items.name].insert_one({"_id": 2})
    assert await found(items, {}) == [1]
    assert await found(mongo_client[other][items.name], {}) == [2]
    await mongo_client.drop_database(other)
    assert await found(items, {}) == [1]
    assert await found(mongo_client[other][items.name], {}) == []


async def test_acknowledged_writes_survive_a_kill(tmp_path: Path) -> None:
    server = mongo_server(tmp_path)
    server.start()
    client: Any = AsyncIOMotorClient(f"mongodb://127.0.0.1:{server.port}", serverSelectionTimeoutMS=20_000)
    items = client["survival"]["items"]
    await items.create_index("key", unique=True)
    acknowledged = set()

    async def write(n: int) -> None:
        await items.insert_one({"_id": n, "key": n})
        acknowledged.add(n)

    writers = [asyncio.create_task(write(n)) for n in range(400)]
    while len(acknowledged) < 100:
        await asyncio.sleep(0)
    server.kill()
    server.start()
    await asyncio.gather(*writers, return_exceptions=True)
    try:
        assert acknowledged <= set(await found(items, {}))
        with pytest.raises(DuplicateKeyError):
            await items.insert_one({"_id": -1, "key": 0})
    finally:
        client.close()
        server.stop()


async def test_an_unordered_insertion_stores_what_is_new_and_names_the_doubles(items: Collection) -> None:
    await items.insert_one({"_id": "b", "first": True})
    with pytest.raises(BulkWriteError) as raised:
        await items.insert_many([{"_id": name} for name in "abc"], ordered=False)
    assert [error["code"] for error in raised.value.details["writeErrors"]] == [11000]
    assert await found(items, {}) == ["a", "b", "c"]
    assert (await items.find_one({"_id": "b"}))["first"] is True
