"""Every MongoDB operation that the services use, on whatever server the tests are given.

A server that passes this suite holds Vitrine's state. What the suite leaves out is not to be used, because
the embedded server does it differently without saying so: dates (times are integers, milliseconds since
the epoch), pipeline updates, `$not`, null within `$or` and `$and` (but `$in: [null]`), filters on `{}` and
`[]`, partial indexes, grouping by several keys, projections of nested paths, `$push` of subdocuments,
`$addToSet` where there is no array yet, `$setOnInsert` in `find_one_and_update`, numbers as `_id`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ASCENDING, DESCENDING, DeleteOne, IndexModel, InsertOne, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from servers import mongo_server

Collection = Any
NOW = 1_772_368_215_123
"""A time as the services store it: milliseconds since the epoch."""
SECOND = 1_000


@pytest.fixture
async def items(database: Any) -> Collection:
    """A collection of this test alone."""
    return database[f"items_{secrets.token_hex(6)}"]


async def found(items: Collection, query: dict[str, Any]) -> list[Any]:
    """The sorted ids of the documents that match."""
    return sorted([document["_id"] async for document in items.find(query, {"_id": 1})])


# What is written is what is read


async def test_insert_returns_the_given_id_and_find_one_returns_the_document(items: Collection) -> None:
    result = await items.insert_one({"_id": "run_1", "state": "queued"})
    assert result.inserted_id == "run_1"
    assert await items.find_one({"_id": "run_1"}) == {"_id": "run_1", "state": "queued"}
    assert await items.find_one({"_id": "run_2"}) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        0.1,
        1e300,
        -0.5,
        3.0,
        "",
        "text",
        "Größe 測試 🧪",
        'quotes " and \\ and \n and \x00 nul',
        "2026-03-01T12:30:15Z",
        "507f1f77bcf86cd799439011",
        '{"json": "in a string"}',
        b"",
        b"\x00\xff\x80binary",
        [],
        {},
        [1, "two", None, 3.5, True],
        [[1, 2], [3]],
        {"a": {"b": {"c": {"d": 1}}}},
        {"größe": 1, "鍵": 2, "with space": 3, "dash-key": 4, "under_score": 5, "0": 6},
        [{"name": "image", "digest": "sha256:00"}, {"name": "text", "digest": None}],
        {"list": [{"deep": [1, {"x": None}]}]},
        NOW,
        {"at": NOW, "list": [NOW]},
    ],
    ids=repr,
)
async def test_values_survive_a_round_trip(items: Collection, value: Any) -> None:
    await items.insert_one({"_id": 1, "value": value, "nested": {"value": value}})
    document = await items.find_one({"_id": 1})
    assert document == {"_id": 1, "value": value, "nested": {"value": value}}
    assert isinstance(document["value"], type(value))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        2**53 + 1,
        3.0,
        0.1,
        "text",
        '{"a": 1}',
        b"\x00\xff",
        [1, "a", None],
        {"a": {"b": 1}},
        {},
        NOW,
    ],
    ids=repr,
)
async def test_values_survive_being_set(items: Collection, value: Any) -> None:
    await items.insert_one({"_id": 1, "nested": {"kept": 1}})
    await items.update_one({"_id": 1}, {"$set": {"value": value, "nested.value": value}})
    document = await items.find_one({"_id": 1})
    assert document == {"_id": 1, "value": value, "nested": {"kept": 1, "value": value}}
    assert isinstance(document["value"], bool | int if isinstance(value, bool) else type(value))


async def test_null_and_missing_are_the_same_to_a_filter_for_null(items: Collection) -> None:
    await items.insert_many([{"_id": "1", "a": None}, {"_id": "2"}, {"_id": "3", "a": 0}])
    assert await found(items, {"a": None}) == ["1", "2"]
    assert "a" not in await items.find_one({"_id": "2"})
    assert (await items.find_one({"_id": "1"}))["a"] is None


async def test_replace_one_takes_the_whole_document_away(items: Collection) -> None:
    await items.insert_one({"_id": 1, "a": 1, "b": {"c": 2}})
    result = await items.replace_one({"_id": 1}, {"b": {"d": 3}})
    assert (result.matched_count, result.modified_count) == (1, 1)
    assert await items.find_one({"_id": 1}) == {"_id": 1, "b": {"d": 3}}


# Indexes


async def test_a_taken_id_is_a_duplicate_key_error(items: Collection) -> None:
    await items.insert_one({"_id": "same", "n": 1})
    with pytest.raises(DuplicateKeyError) as caught:
        await items.insert_one({"_id": "same", "n": 2})
    assert caught.value.code == 11000
    assert (await items.find_one({"_id": "same"}))["n"] == 1


async def test_a_unique_index_refuses_a_second_value_and_names_its_field(items: Collection) -> None:
    await items.create_index("email", unique=True)
    await items.insert_one({"_id": 1, "email": "a@example.org"})
    with pytest.raises(DuplicateKeyError) as caught:
        await items.insert_one({"_id": 2, "email": "a@example.org"})
    assert caught.value.code == 11000
    assert "email" in str(caught.value)
    assert await found(items, {}) == [1]


async def test_a_unique_index_holds_for_updates(items: Collection) -> None:
    await items.create_index("email", unique=True)
    await items.insert_many([{"_id": 1, "email": "a"}, {"_id": 2, "email": "b"}])
    with pytest.raises(DuplicateKeyError):
        await items.update_one({"_id": 2}, {"$set": {"email": "a"}})
    with pytest.raises(DuplicateKeyError):
        await items.replace_one({"_id": 2}, {"email": "a"})
    with suppress(DuplicateKeyError):  # MongoDB raises; the embedded server says that nothing matched
        assert await items.find_one_and_update({"_id": 2}, {"$set": {"email": "a"}}) is None
    assert (await items.find_one({"_id": 2}))["email"] == "b"


async def test_a_compound_unique_index_refuses_only_the_same_combination(items: Collection) -> None:
    await items.create_index([("model", ASCENDING), ("number", DESCENDING)], unique=True)
    await items.insert_one({"_id": 1, "model": "a", "number": 1})
    await items.insert_one({"_id": 2, "model": "a", "number": 2})
    await items.insert_one({"_id": 3, "model": "b", "number": 1})
    with pytest.raises(DuplicateKeyError):
        await items.insert_one({"_id": 4, "model": "a", "number": 1})


async def test_a_unique_index_on_a_nested_path(items: Collection) -> None:
    await items.create_index("lock.digest", unique=True)
    await items.insert_one({"_id": 1, "lock": {"digest": "sha256:1"}})
    await items.insert_one({"_id": 2, "lock": {"digest": "sha256:2"}})
    with pytest.raises(DuplicateKeyError):
        await items.insert_one({"_id": 3, "lock": {"digest": "sha256:1"}})


async def test_a_sparse_unique_index_ignores_documents_without_the_field(items: Collection) -> None:
    await items.create_index("slug", unique=True, sparse=True)
    await items.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 3, "slug": "x"}])
    with pytest.raises(DuplicateKeyError):
        await items.insert_one({"_id": 4, "slug": "x"})


async def test_an_index_on_a_counter_finds_what_is_not_zero(items: Collection) -> None:
    await items.create_index("outbox_count")
    await items.insert_many([{"_id": "1", "outbox_count": 0}, {"_id": "2", "outbox_count": 2}, {"_id": "3"}])
    assert await found(items, {"outbox_count": {"$gt": 0}}) == ["2"]


async def test_a_ttl_index_can_be_made_twice_and_takes_nothing_that_is_no_date(items: Collection) -> None:
    for _ in range(2):
        await items.create_index("expires_at", expireAfterSeconds=0)
    await items.insert_one({"_id": "1", "expires_at": NOW})
    information = await items.index_information()
    assert [
        index["expireAfterSeconds"] for index in information.values() if "expireAfterSeconds" in index
    ] == [0]
    assert await found(items, {}) == ["1"]


async def test_indexes_are_made_in_one_call_and_again_without_harm(items: Collection) -> None:
    models = [
        IndexModel([("owner", ASCENDING), ("created_at", DESCENDING)]),
        IndexModel([("lease_expires_at", ASCENDING)]),
    ]
    await items.create_indexes(models)
    await items.create_indexes(models)
    information = await items.index_information()
    indexed = sorted(tuple(field for field, _ in index["key"]) for index in information.values())
    assert indexed == [("_id",), ("lease_expires_at",), ("owner", "created_at")]


# Filters and order


async def test_find_sorts_skips_and_limits(items: Collection) -> None:
    await items.insert_many([{"_id": n, "group": n % 2, "rank": 10 - n} for n in range(6)])
    cursor = items.find({}).sort([("group", DESCENDING), ("rank", ASCENDING)]).skip(1).limit(3)
    assert [document["_id"] async for document in cursor] == [3, 1, 4]


async def test_find_sorts_by_a_nested_time(items: Collection) -> None:
    await items.insert_many([{"_id": n, "lease": {"at": NOW + -n * SECOND}} for n in range(4)])
    cursor = items.find({}).sort("lease.at", ASCENDING)
    assert [document["_id"] async for document in cursor] == [3, 2, 1, 0]


async def test_keyset_pagination_by_time_then_id(items: Collection) -> None:
    await items.insert_many([{"_id": f"r{n}", "at": NOW + (n // 2) * SECOND} for n in range(6)])
    after = {
        "$or": [
            {"at": {"$lt": NOW + SECOND}},
            {"at": NOW + SECOND, "_id": {"$lt": "r3"}},
        ]
    }
    cursor = items.find(after).sort([("at", DESCENDING), ("_id", DESCENDING)]).limit(2)
    assert [document["_id"] async for document in cursor] == ["r2", "r1"]


async def test_find_projects_top_level_fields_in_and_out(items: Collection) -> None:
    await items.insert_one({"_id": "1", "a": 1, "b": {"c": 2, "d": 3}, "outbox": {"e": 1}})
    assert await items.find_one({"_id": "1"}, {"b": 1}) == {"_id": "1", "b": {"c": 2, "d": 3}}
    assert await items.find_one({"_id": "1"}, {"outbox": 0, "a": 0}) == {"_id": "1", "b": {"c": 2, "d": 3}}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": {"$in": ["queued", "saving"]}}, [1, 4]),
        ({"state": {"$nin": ["queued", "saving"]}}, [2, 3]),
        ({"state": {"$in": []}}, []),
        ({"state": {"$ne": "queued"}}, [2, 3, 4]),
        ({"at": {"$lt": NOW}}, [1]),
        ({"at": {"$lte": NOW}}, [1, 2]),
        ({"at": {"$gt": NOW}}, [3]),
        ({"at": {"$gte": NOW}}, [2, 3]),
        ({"at": NOW}, [2]),
        ({"at": {"$gte": NOW, "$lt": NOW + 2}}, [2, 3]),
        ({"lease.expires_at": {"$lt": NOW}}, [1]),
        ({"lease.token": "t2"}, [2]),
        ({"lease.token": None}, [3, 4]),
        ({"lease": None}, [3, 4]),
        ({"lease.token": {"$exists": True}}, [1, 2]),
        ({"outbox.evt_1": {"$exists": True}}, [1]),
        ({"outbox.evt_1": {"$exists": False}}, [2, 3, 4]),
        ({"outbox.evt_1.subject": "run.queued"}, [1]),
        ({"$or": [{"state": "running"}, {"n": {"$gt": 40}}]}, [2, 4]),
        (
            {
                "$or": [{"lease": {"$in": [None]}}, {"lease.expires_at": {"$lt": NOW}}],
                "state": {"$ne": "saving"},
            },
            [1, 3],
        ),
        ({"$and": [{"n": {"$gte": 20}}, {"n": {"$lt": 40}}]}, [2, 3]),
        ({"n": {"$gte": 20, "$lt": 40}}, [2, 3]),
        ({"tags": "red"}, [1, 2]),
        ({"tags": {"$in": ["blue"]}}, [2]),
        ({"tags": {"$all": ["red", "blue"]}}, [2]),
        ({"_id": {"$in": [1, 4, 9]}}, [1, 4]),
        ({"_id": {"$gt": 2}}, [3, 4]),
        ({"state": {"$regex": "^que"}}, [1]),
        ({"state": "queued", "flag": True}, [1]),
        ({"flag": {"$ne": True}}, [2, 3, 4]),
    ],
    ids=repr,
)
async def test_filters(items: Collection, query: dict[str, Any], expected: list[int]) -> None:
    await items.insert_many(
        [
            {
                "_id": 1,
                "state": "queued",
                "n": 10,
                "at": NOW - 1,
                "lease": {"token": "t1", "expires_at": NOW - 1},
                "outbox": {"evt_1": {"subject": "run.queued", "body": {"a": 1}}},
                "tags": ["red"],
                "flag": True,
            },
            {
                "_id": 2,
                "state": "running",
                "n": 20,
                "at": NOW,
                "lease": {"token": "t2", "expires_at": NOW + 1},
                "outbox": {},
                "tags": ["red", "blue"],
                "flag": False,
            },
            {"_id": 3, "state": "failed", "n": 30, "at": NOW + 1, "lease": None, "tags": []},
            {"_id": 4, "state": "saving", "n": 50},
        ]
    )
    assert await found(items, query) == expected


async def test_count_documents_and_distinct(items: Collection) -> None:
    await items.insert_many([{"_id": n, "state": "ab"[n % 2], "d": {"x": n % 3}} for n in range(6)])
    assert await items.count_documents({}) == 6
    assert await items.count_documents({"state": "a"}) == 3
    assert await items.count_documents({"state": "z"}) == 0
    assert await items.count_documents({"state": "a"}, limit=2) == 2
    assert sorted(await items.distinct("state")) == ["a", "b"]
    assert sorted(await items.distinct("d.x", {"state": "a"})) == [0, 1, 2]


async def test_more_documents_than_one_batch_are_all_read(items: Collection) -> None:
    ids = [f"run_{n:06}" for n in range(1_500)]
    await items.insert_many([{"_id": name, "text": "x" * 200} for name in ids])
    assert [document["_id"] async for document in items.find({}).sort("_id", 1)] == ids
    assert len(await items.find({}).to_list(None)) == 1_500
    assert len([d async for d in items.find({}, batch_size=100).limit(350)]) == 350


# Updates


async def test_update_one_says_what_it_matched_and_modified(items: Collection) -> None:
    await items.insert_one({"_id": 1, "state": "queued"})
    missed = await items.update_one({"_id": 1, "state": "running"}, {"$set": {"state": "failed"}})
    assert (missed.matched_count, missed.modified_count) == (0, 0)
    hit = await items.update_one({"_id": 1, "state": "queued"}, {"$set": {"state": "running"}})
    assert (hit.matched_count, hit.modified_count) == (1, 1)


async def test_update_many_and_delete_many_say_how_many(items: Collection) -> None:
    await items.insert_many([{"_id": n, "even": n % 2 == 0} for n in range(5)])
    updated = await items.update_many({"even": True}, {"$set": {"seen": True}, "$inc": {"count": 2}})
    assert (updated.matched_count, updated.modified_count) == (3, 3)
    assert await found(items, {"seen": True, "count": 2}) == [0, 2, 4]
    assert (await items.delete_many({"even": False})).deleted_count == 2
    assert (await items.delete_many({"even": False})).deleted_count == 0
    assert (await items.delete_one({"_id": 0})).deleted_count == 1
    assert await found(items, {}) == [2, 4]


async def test_upsert_inserts_once_then_updates(items: Collection) -> None:
    change = {"$set": {"seen": NOW}, "$setOnInsert": {"first": True, "runs": 7}, "$inc": {"count": 1}}
    first = await items.update_one({"_id": "k"}, change, upsert=True)
    assert first.upserted_id == "k"
    second = await items.update_one({"_id": "k"}, change, upsert=True)
    assert (second.upserted_id, second.matched_count) == (None, 1)
    assert await items.find_one({"_id": "k"}) == {
        "_id": "k",
        "seen": NOW,
        "first": True,
        "runs": 7,
        "count": 2,
    }


async def test_set_unset_and_inc_of_nested_paths_in_one_update(items: Collection) -> None:
    await items.insert_one(
        {"_id": 1, "state": "queued", "outbox": {"a": {"s": 1}}, "outbox_count": 1, "old": {"x": 1}}
    )
    event = {"subject": "run.started", "payload": {"run": "run_1", "at": NOW, "n": None, "list": [{"x": 1}]}}
    await items.update_one(
        {"_id": 1, "state": "queued"},
        {
            "$set": {"state": "running", "outbox.b": event, "lease": {"token": "t", "expires_at": NOW}},
            "$inc": {"outbox_count": 1, "revision": 1},
            "$unset": {"old": ""},
        },
    )
    assert await items.find_one({"_id": 1}) == {
        "_id": 1,
        "state": "running",
        "outbox": {"a": {"s": 1}, "b": event},
        "outbox_count": 2,
        "revision": 1,
        "lease": {"token": "t", "expires_at": NOW},
    }


async def test_an_outbox_entry_is_taken_away_once(items: Collection) -> None:
    await items.insert_one({"_id": 1, "outbox": {"a": {"s": 1}, "b": {"s": 2}}, "outbox_count": 2})
    query = {"_id": 1, "outbox.a": {"$exists": True}}
    change = {"$unset": {"outbox.a": ""}, "$inc": {"outbox_count": -1}}
    assert (await items.update_one(query, change)).modified_count == 1
    assert (await items.update_one(query, change)).matched_count == 0
    assert await items.find_one({"_id": 1}) == {"_id": 1, "outbox": {"b": {"s": 2}}, "outbox_count": 1}
    await items.update_one({"_id": 1}, {"$unset": {"outbox.b": ""}, "$inc": {"outbox_count": -1}})
    assert await items.find_one({"_id": 1}) == {"_id": 1, "outbox": {}, "outbox_count": 0}


async def test_an_outbox_entry_that_is_json_text_stays_text(items: Collection) -> None:
    text = '{"id": "msg_1", "payload": {"at": "2026-03-01T12:30:15.123Z", "n": null, "quote": "\\"ä"}}'
    await items.insert_one({"_id": "1", "outbox": {"msg_0": text}, "outbox_count": 1})
    await items.update_one({"_id": "1"}, {"$set": {"outbox.msg_1": text}, "$inc": {"outbox_count": 1}})
    assert (await items.find_one({"_id": "1"}))["outbox"] == {"msg_0": text, "msg_1": text}


async def test_a_first_outbox_entry_makes_the_map(items: Collection) -> None:
    await items.insert_one({"_id": 1})
    event_id = "evt_01j9zq0000000000000000000a"
    await items.update_one(
        {"_id": 1}, {"$set": {f"outbox.{event_id}": {"subject": "s"}}, "$inc": {"outbox_count": 1}}
    )
    assert await items.find_one({"_id": 1}) == {
        "_id": 1,
        "outbox": {event_id: {"subject": "s"}},
        "outbox_count": 1,
    }


async def test_unset_of_a_missing_path_changes_nothing(items: Collection) -> None:
    await items.insert_one({"_id": 1, "a": 1})
    result = await items.update_one({"_id": 1}, {"$unset": {"outbox.x": "", "lease": ""}})
    assert (result.matched_count, result.modified_count) == (1, 0)
    assert await items.find_one({"_id": 1}) == {"_id": 1, "a": 1}


async def test_a_subdocument_is_set_whole(items: Collection) -> None:
    await items.insert_one({"_id": 1, "lease": {"token": "old", "extra": 1}})
    await items.update_one({"_id": 1}, {"$set": {"lease": {"token": "new"}}})
    assert (await items.find_one({"_id": 1}))["lease"] == {"token": "new"}
    await items.update_one({"_id": 1}, {"$set": {"lease": None}})
    assert (await items.find_one({"_id": 1}))["lease"] is None


async def test_find_one_and_update_returns_the_document_after(items: Collection) -> None:
    await items.insert_one({"_id": 1, "lease": {"token": "a", "expires_at": NOW}, "n": 1, "gone": 1})
    after = await items.find_one_and_update(
        {"_id": 1, "lease.token": "a", "lease.expires_at": {"$lte": NOW}},
        {
            "$set": {
                "lease.expires_at": NOW + 30 * SECOND,
                "state": {"name": "running", "at": NOW},
            },
            "$inc": {"n": 1},
            "$unset": {"gone": ""},
        },
        return_document=ReturnDocument.AFTER,
    )
    assert after == {
        "_id": 1,
        "lease": {"token": "a", "expires_at": NOW + 30 * SECOND},
        "n": 2,
        "state": {"name": "running", "at": NOW},
    }
    assert after == await items.find_one({"_id": 1})


async def test_find_one_and_update_returns_the_document_before_by_default(items: Collection) -> None:
    await items.insert_one({"_id": 1, "n": 1})
    assert await items.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}) == {"_id": 1, "n": 1}
    assert await items.find_one({"_id": 1}) == {"_id": 1, "n": 2}


async def test_find_one_and_update_without_a_match_returns_none(items: Collection) -> None:
    await items.insert_one({"_id": 1, "lease": {"token": "a"}})
    stale = await items.find_one_and_update(
        {"_id": 1, "lease.token": "b"}, {"$set": {"x": 1}}, return_document=ReturnDocument.AFTER
    )
    assert stale is None
    assert await items.find_one({"_id": 1}) == {"_id": 1, "lease": {"token": "a"}}


async def test_find_one_and_update_claims_the_oldest(items: Collection) -> None:
    await items.insert_many([{"_id": n, "state": "queued", "at": NOW - n * SECOND} for n in range(4)])
    order = []
    for _ in range(5):
        claimed = await items.find_one_and_update(
            {"state": "queued"},
            {"$set": {"state": "starting"}},
            sort=[("at", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        )
        order.append(claimed and claimed["_id"])
    assert order == [3, 2, 1, 0, None]


async def test_find_one_and_update_upserts(items: Collection) -> None:
    for count in (1, 2):
        document = await items.find_one_and_update(
            {"_id": "counter"},
            {"$inc": {"value": 1}, "$set": {"seen": NOW}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert document == {"_id": "counter", "value": count, "seen": NOW}


async def test_find_one_and_update_projects(items: Collection) -> None:
    await items.insert_one({"_id": 1, "n": 1, "big": "x"})
    document = await items.find_one_and_update(
        {"_id": 1}, {"$inc": {"n": 1}}, projection={"n": 1}, return_document=ReturnDocument.AFTER
    )
    assert document == {"_id": 1, "n": 2}


async def test_find_one_and_delete_returns_what_it_took(items: Collection) -> None:
    await items.insert_many([{"_id": 1, "a": {"b": 1}}, {"_id": 2, "a": {"b": 2}}])
    assert await items.find_one_and_delete({"a.b": 2}) == {"_id": 2, "a": {"b": 2}}
    assert await items.find_one_and_delete({"a.b": 2}) is None
    assert await found(items, {}) == [1]


async def test_inc_of_nested_and_missing_counters_and_floats(items: Collection) -> None:
    await items.insert_one({"_id": 1, "usage": {"runs": 2**53}})
    await items.update_one(
        {"_id": 1}, {"$inc": {"usage.runs": 1, "usage.bytes": 5, "usage.seconds": 0.25, "top": -1}}
    )
    document = await items.find_one({"_id": 1})
    assert document == {"_id": 1, "usage": {"runs": 2**53 + 1, "bytes": 5, "seconds": 0.25}, "top": -1}
    assert isinstance(document["usage"]["runs"], int)


async def test_max_and_min_keep_the_extreme(items: Collection) -> None:
    await items.insert_one({"_id": 1, "last": NOW, "low": 5})
    later = NOW + SECOND
    await items.update_one({"_id": 1}, {"$max": {"last": later}, "$min": {"low": 3}})
    await items.update_one({"_id": 1}, {"$max": {"last": NOW}, "$min": {"low": 4}})
    assert await items.find_one({"_id": 1}) == {"_id": 1, "last": later, "low": 3}


async def test_add_to_set_and_pull_of_scalars(items: Collection) -> None:
    await items.insert_one({"_id": 1, "tags": ["a"]})
    for tag in ("b", "a", "c"):
        await items.update_one({"_id": 1}, {"$addToSet": {"tags": tag}})
    assert (await items.find_one({"_id": 1}))["tags"] == ["a", "b", "c"]
    await items.update_one({"_id": 1}, {"$addToSet": {"tags": {"$each": ["c", "d"]}}})
    await items.update_one({"_id": 1}, {"$pull": {"tags": "a"}})
    assert await items.find_one({"_id": 1}) == {"_id": 1, "tags": ["b", "c", "d"]}


async def test_push_of_scalars(items: Collection) -> None:
    await items.insert_one({"_id": 1, "events": []})
    await items.update_one({"_id": 1}, {"$push": {"events": "a"}})
    await items.update_one({"_id": 1}, {"$push": {"events": {"$each": ["b", "c"]}}})
    assert (await items.find_one({"_id": 1}))["events"] == ["a", "b", "c"]


# Bulk, grouping


async def test_insert_many_unordered_keeps_what_is_not_a_duplicate(items: Collection) -> None:
    await items.insert_one({"_id": 2})
    with pytest.raises(BulkWriteError) as caught:
        await items.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 3}], ordered=False)
    assert [error["code"] for error in caught.value.details["writeErrors"]] == [11000]
    assert await found(items, {}) == [1, 2, 3]


async def test_bulk_write_mixes_operations(items: Collection) -> None:
    result = await items.bulk_write(
        [
            InsertOne({"_id": 1, "n": 1}),
            UpdateOne({"_id": 1}, {"$inc": {"n": 1}}),
            UpdateOne({"_id": 2}, {"$set": {"n": {"deep": 1}}}, upsert=True),
            InsertOne({"_id": 3}),
            DeleteOne({"_id": 3}),
        ],
        ordered=True,
    )
    assert (result.inserted_count, result.modified_count, result.upserted_count, result.deleted_count) == (
        2,
        1,
        1,
        1,
    )
    assert await items.find({}).sort("_id", 1).to_list(None) == [
        {"_id": 1, "n": 2},
        {"_id": 2, "n": {"deep": 1}},
    ]


async def test_aggregate_matches_groups_sorts_and_limits(items: Collection) -> None:
    await items.insert_many(
        [
            {
                "_id": n,
                "version": {"digest": f"v{n % 3}"},
                "ms": float(n),
                "at": NOW + n * 60 * SECOND,
                "ok": n != 5,
            }
            for n in range(9)
        ]
    )
    pipeline = [
        {"$match": {"ok": True, "at": {"$lt": NOW + 8 * 60 * SECOND}}},
        {
            "$group": {
                "_id": "$version.digest",
                "runs": {"$sum": 1},
                "total": {"$sum": "$ms"},
                "average": {"$avg": "$ms"},
                "least": {"$min": "$ms"},
                "most": {"$max": "$ms"},
            }
        },
        {"$sort": {"runs": -1, "_id": 1}},
        {"$limit": 2},
    ]
    assert await items.aggregate(pipeline).to_list(None) == [
        {"_id": "v0", "runs": 3, "total": 9.0, "average": 3.0, "least": 0.0, "most": 6.0},
        {"_id": "v1", "runs": 3, "total": 12.0, "average": 4.0, "least": 1.0, "most": 7.0},
    ]


async def test_aggregate_groups_all_and_counts(items: Collection) -> None:
    await items.insert_many([{"_id": n, "n": n, "at": NOW + n * SECOND} for n in range(4)])
    pipeline = [
        {"$group": {"_id": None, "sum": {"$sum": "$n"}, "first": {"$min": "$at"}, "last": {"$max": "$at"}}}
    ]
    assert await items.aggregate(pipeline).to_list(None) == [
        {"_id": None, "sum": 6, "first": NOW, "last": NOW + 3 * SECOND}
    ]
    assert await items.aggregate([{"$match": {"n": {"$gt": 1}}}, {"$count": "found"}]).to_list(None) == [
        {"found": 2}
    ]
    assert (
        await items.aggregate([{"$match": {"n": 99}}, {"$group": {"_id": None, "sum": {"$sum": 1}}}]).to_list(
            None
        )
        == []
    )


async def test_aggregate_counts_what_meets_a_condition(items: Collection) -> None:
    await items.insert_many([{"_id": str(n), "v": "xy"[n % 2], "state": "ab"[n // 4]} for n in range(6)])
    failed = {"$sum": {"$cond": [{"$eq": ["$state", "b"]}, 1, 0]}}
    pipeline = [{"$group": {"_id": "$v", "failed": failed, "all": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    assert await items.aggregate(pipeline).to_list(None) == [
        {"_id": "x", "failed": 1, "all": 3},
        {"_id": "y", "failed": 1, "all": 3},
    ]


# Concurrency and durability


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
