"""Indexes: what is unique, sparse, compound, and what expires."""

from __future__ import annotations

from contextlib import suppress

import pytest
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from mongo_items import NOW, Collection, found


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
