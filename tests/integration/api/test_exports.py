"""A version as an RO-Crate: what is in it for whom, and that it is one."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from typing import Any
from urllib.parse import unquote

import httpx

from api_instance import FILES, SPEC, Instance, problem
from receipt_samples import CONDITIONS
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output
from vitrine_common.receipts.keys import read_keys
from vitrine_common.receipts.verification import verify

CARD = {**SPEC, "model_card": "# Echo\n\nSays it again."}
METADATA = "ro-crate-metadata.json"


def crate(answer: httpx.Response) -> dict[str, bytes]:
    """The files of an archive; asserts that it is whole."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def graph(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """The entities of the metadata by id; asserts what RO-Crate 1.1 demands of them."""
    document = json.loads(files[METADATA])
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    descriptor = entities[METADATA]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities[descriptor["about"]["@id"]]
    assert (root["@id"], root["@type"]) == ("./", "Dataset")
    assert {"name", "description", "datePublished", "license"} <= set(root)
    parts = {part["@id"] for part in root["hasPart"]}
    assert {unquote(part) for part in parts} == set(files) - {METADATA}
    for part in parts:
        entity, data = entities[part], files[unquote(part)]
        assert entity["@type"] == "File"
        assert entity["contentSize"] == str(len(data))
        assert entity["identifier"] == sha256_bytes(data)
        assert entity["encodingFormat"]
    for entity in entities.values():  # whatever is pointed at inside of the crate is there
        for value in entity.values():
            for link in value if isinstance(value, list) else [value]:
                if isinstance(link, dict) and not link["@id"].startswith("http"):
                    assert link["@id"] in entities
    return entities


async def ran(api: Instance, account: Any, version: dict[str, Any]) -> str:
    path = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/runs"
    run_id = (await account.client.post(path, json={"inputs": {}})).json()["id"]
    await api.finish(run_id, [Output(name="text", type="text", value='"hello"')], conditions=CONDITIONS)
    assert await api.services.receipts.issue_run(run_id)
    return str(run_id)


async def test_an_owner_exports_everything_that_is_known(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account, spec=CARD)
    run_id = await ran(api, account, version)
    address = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/export"
    files = crate(await account.client.get(address))
    entities = graph(files)
    assert json.loads(files["vitrine.json"]) == version["spec"]
    assert files["README.md"].decode() == CARD["model_card"]
    assert {entry["path"] for entry in json.loads(files["manifest.json"])["files"]} == set(FILES)
    assert not [name for name in files if name.startswith("files/")]
    assert entities["./"]["identifier"] == version["digest"]
    assert entities["#author"]["name"] == account.name
    action = entities[f"#{run_id}"]
    assert (action["@type"], action["actionStatus"]["@id"]) == (
        "CreateAction",
        "http://schema.org/CompletedActionStatus",
    )
    receipt = files[f"receipts/{run_id}.json"]
    assert verify(receipt, read_keys(files["vitrine-keys.json"])).valid


async def test_with_files_the_bundle_is_in_it(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    address = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/export"
    once = await account.client.get(address, params={"files": "true"})
    files = crate(once)
    graph(files)
    assert {name: files[f"files/{name}"] for name in FILES} == FILES
    again = await account.client.get(address, params={"files": "true"})
    assert again.content == once.content
    stranger = await api.account()
    problem(await stranger.client.get(address), 404)
    problem(await api.client().get(address), 401)


async def test_a_link_gives_what_its_page_shows(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account, spec=CARD)
    owners = await ran(api, account, version)
    link = await account.share(version["reference"])
    visitor = api.client(headers={"X-Vitrine-Visitor": secrets.token_hex(8)})
    base = f"/api/v1/links/{link['token']}"
    mine = (await visitor.post(f"{base}/runs", json={"inputs": {}})).json()["id"]
    await api.finish(mine)
    assert await api.services.receipts.issue_run(mine)
    files = crate(await visitor.get(f"{base}/export"))
    graph(files)
    assert f"receipts/{mine}.json" in files
    assert f"receipts/{owners}.json" not in files
    other = crate(await api.client().get(f"{base}/export"))
    assert not [name for name in other if name.startswith("receipts/")]
    for name in ("vitrine.json", "manifest.json", *(f"files/{path}" for path in FILES)):
        assert name not in files
    everything = b"\n".join(files.values())
    for data in FILES.values():
        assert data not in everything
    assert b"echo.py" not in everything
    assert not [name for name in crate(await visitor.get(f"{base}/export?files=true")) if "files/" in name]


async def test_a_blind_links_archive_names_nobody(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account, spec=CARD)
    await ran(api, account, version)
    link = await account.share(version["reference"], blind=True)
    visitor = api.client(headers={"X-Vitrine-Visitor": secrets.token_hex(8)})
    base = f"/api/v1/links/{link['token']}"
    mine = (await visitor.post(f"{base}/runs", json={"inputs": {}})).json()["id"]
    await api.finish(mine)
    assert await api.services.receipts.issue_run(mine)
    answer = await visitor.get(f"{base}/export")
    files = crate(answer)
    entities = graph(files)
    assert f"receipts/{mine}.json" in files
    assert "#author" not in entities
    assert "version" not in entities["./"]
    told = b"\n".join(files.values()).decode() + str(answer.headers) + " ".join(files)
    named = (
        account.name,
        account.email,
        version["model"],
        version["digest"][7:],
        sha256_bytes(b"environment")[7:],
    )
    for secret in named:
        assert secret not in told
    assert version["created_at"][:23] not in told  # to the millisecond


async def test_the_same_from_pages(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(version["reference"])
    shown = await api.client().get(f"/s/{link['token']}/export")
    assert "interface.json" in crate(shown)
    page = f"/models/{version['owner']}/{version['model']}/versions/{version['number']}/export"
    assert (await api.client().get(page)).status_code == 303
