"""Every update that the services make, singly and in bulk, and what is grouped."""

from __future__ import annotations

import pytest
from pymongo import ASCENDING, DeleteOne, InsertOne, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from mongo_items import NOW, SECOND, Collection, found

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
