"""Every MongoDB operation that the services use, on whatever server the tests are given.

A server that passes this suite holds Vitrine's state. What the suite leaves out is not to be used, because
the embedded server does it differently without saying so: dates (times are integers, milliseconds since
the epoch), pipeline updates, `$not`, null within `$or` and `$and` (but `$in: [null]`), filters on `{}` and
`[]`, partial indexes, grouping by several keys, projections of nested paths, `$push` of subdocuments,
`$addToSet` where there is no array yet, `$setOnInsert` in `find_one_and_update`, numbers as `_id`.
"""

from __future__ import annotations

from typing import Any

import pytest
from pymongo import ASCENDING, DESCENDING

from mongo_items import NOW, SECOND, Collection, found

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
