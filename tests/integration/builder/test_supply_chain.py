"""What the builder tells of the environments it makes: real wheels, stored documents, builds in a row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder_desk import Desk
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Environment
from vitrine_common.settings import MongoSettings
from vitrine_common.states import BuildState
from vitrine_common.store import Database


@pytest.fixture(autouse=True)
async def builder(desk: Desk) -> None:
    if not desk.processes:
        await desk.start()


async def document(desk: Desk, digest: str | None) -> tuple[bytes, Any]:
    assert digest is not None
    data = await desk.blobs.get_bytes(digest, 1 << 20)
    return data, json.loads(data)


async def made(desk: Desk, requirements: str) -> Environment:
    build = await desk.end(await desk.request(requirements))
    assert build.state is BuildState.SUCCEEDED, build.problem
    return await desk.document(build)


async def test_an_environment_has_an_sbom_a_provenance_and_its_wheels(desk: Desk) -> None:
    environment = await made(desk, "six==1.17.0\ncharset-normalizer==3.4.4\n")
    raw, sbom = await document(desk, environment.sbom_digest)
    parts = {part["name"]: part for part in sbom["components"]}
    assert {"six", "charset-normalizer", "python"} <= set(parts)
    assert parts["six"]["licenses"][0]["license"]["id"] == "MIT"
    assert parts["six"]["hashes"][0]["content"] in environment.lock
    _, statement = await document(desk, environment.provenance_digest)
    assert statement["subject"][0]["digest"]["sha256"] == environment.id.removeprefix("sha256:")
    product = statement["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"]
    assert f"sha256:{product}" == sha256_bytes(raw)
    assert [wheel.name for wheel in environment.wheels] == ["charset-normalizer", "six"]
    assert all(wheel.size_bytes > 1000 for wheel in environment.wheels)


async def test_what_was_there_before_is_told_and_stays_told(desk: Desk) -> None:
    await made(desk, "six==1.17.0\n")
    environment = await made(desk, "six==1.17.0\nidna==3.10\n")
    assert {wheel.name: wheel.reused for wheel in environment.wheels} == {"idna": False, "six": True}
    again = await made(desk, "idna==3.10\nsix==1.17.0\n")
    assert again == environment


async def test_documents_that_were_never_written_are_made_by_the_next_build(
    desk: Desk, mongo: MongoSettings
) -> None:
    environment = await made(desk, "idna==3.10\n")
    database = Database(mongo, "builder", desk.bus)
    lost = {"sbom_digest": None, "provenance_digest": None}
    await database.collection(Environment).update({"_id": environment.id}, lost)
    database.close()
    again = await made(desk, "idna==3.10\n")
    assert again.sbom_digest == environment.sbom_digest
    assert again.provenance_digest == environment.provenance_digest
