"""Requests made to break the api: each is refused by name, none is answered with 500."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from api_instance import FILES, SPEC, Instance, api, manifest, problem
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes

__all__ = ["api"]


@pytest.mark.parametrize("cursor", ["9" * 30 + ".0", "1." + "9" * 30, "1.\u00b2", "-1.0", "$ne", "."])
async def test_a_made_up_cursor_is_refused(api: Instance, cursor: str) -> None:
    answer = await api.operator.client.get("/api/v1/runs", params={"after": cursor})
    assert "cursor" in problem(answer, 422)["detail"]


@pytest.mark.parametrize("target", ["//[", "http://[x", "//evil.example", "/\\evil.example", "/\t/evil"])
async def test_a_login_leads_to_no_other_place(api: Instance, target: str) -> None:
    page = await api.client().get("/login", params={"next": target})
    assert page.status_code == 200
    assert "evil" not in page.text
    assert "[" not in page.text.partition('name="next"')[2].partition(">")[0]


@pytest.mark.parametrize("wish", ["wait=\u00b2", "wait=1e9", "wait=-1", "wait=", "wait"])
async def test_a_wish_to_wait_that_is_no_number_is_no_wish(api: Instance, wish: str) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    headers = {b"Prefer": wish.encode("latin-1"), b"Content-Type": b"application/json"}
    answer = await someone.client.post(path, content=b"{}", headers=headers)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    "inputs",
    [
        b'{"\\ud800": 1}',
        b'{"image": {"example": "\\ud800"}}',
        b'{"image": {"base64": "aGk=", "filename": "\\udfff.png", "media_type": "\\ud800"}}',
    ],
)
async def test_half_a_character_is_refused_wherever_it_stands(api: Instance, inputs: bytes) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    body = b'{"inputs": ' + inputs + b"}"
    answer = await someone.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert "surrogate" in problem(answer, 422)["detail"]


async def test_a_request_for_uploads_without_end_is_refused(api: Instance) -> None:
    """Each blob alone is small enough; their parts together would take minutes to be signed."""
    someone = await api.account()
    blobs = [{"digest": f"sha256:{index:064x}", "size": 20 << 30} for index in range(3)]
    problem(await someone.client.post("/api/v1/blobs/missing", json={"blobs": blobs}), 413)
    one = await someone.client.post("/api/v1/blobs/missing", json={"blobs": blobs[:1]})
    assert one.status_code == 200, one.text


@pytest.mark.parametrize("path", [".", "\ud800"])
async def test_a_path_that_names_no_file_is_refused(api: Instance, path: str) -> None:
    someone = await api.account()
    await someone.upload(FILES)
    body = json.dumps({"manifest": manifest(files={**FILES, path: b"print('hello')\n"})})
    answer = await someone.client.post(
        "/api/v1/versions", content=body, headers={"Content-Type": "application/json"}
    )
    assert "path" in problem(answer, 422)["detail"]


async def test_a_spec_that_no_database_keeps_is_refused(api: Instance) -> None:
    someone = await api.account()
    await someone.upload(FILES)
    odd: dict[str, Any] = {"name": "odd", "type": "json", "default": {"$where": 1, "a.b": 2, "nul\0": 3}}
    body = {"manifest": manifest({**SPEC, "inputs": [*SPEC["inputs"], odd]})}
    assert "stored" in problem(await someone.client.post("/api/v1/versions", json=body), 422)["detail"]
    del odd["default"]["nul\0"]
    assert (await someone.client.post("/api/v1/versions", json=body)).status_code == 201


async def test_parts_sent_after_a_refusal_do_not_stay(api: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    someone = await api.account()
    wanted = {"digest": sha256_bytes(b"right"), "size": 5}
    begun = await someone.client.post("/api/v1/blobs/missing", json={"blobs": [wanted]})
    upload = begun.json()["missing"][0]
    async with httpx.AsyncClient() as storage:
        await storage.put(upload["parts"][0]["url"], content=b"wrong")
        refused = await someone.client.post("/api/v1/blobs/complete", json={"upload_id": upload["upload_id"]})
        assert refused.status_code == 422
        await storage.put(upload["parts"][0]["url"], content=b"again")
    blobs, uploads = api.platform.blobs, api.services.uploads
    assert upload["upload_id"] in await blobs.list_staging(utcnow().replace(year=9000))
    await uploads.sweep()
    assert upload["upload_id"] in await blobs.list_staging(utcnow().replace(year=9000))
    monkeypatch.setattr("vitrine_api.uploads.after", lambda _seconds: utcnow().replace(year=9000))
    await uploads.sweep()
    assert upload["upload_id"] not in await blobs.list_staging(utcnow().replace(year=9000))


async def test_values_without_end_are_refused_before_they_are_read(api: Instance) -> None:
    """A few megabytes of JSON become a gigabyte of objects: a link's holder must not stop the api."""
    someone = await api.account()
    token = (await someone.share((await api.ready(someone))["reference"]))["token"]
    path, headers = f"/api/v1/links/{token}/runs", {"Content-Type": "application/json"}
    body = b'{"inputs": {"text": [' + b"{}," * 600_000 + b"1]}}"
    problem(await api.client().post(path, content=body, headers=headers), 413)
    body = b'{"inputs": {"text": "' + b"a" * 2_000_000 + b'"}}'
    problem(await api.client().post(path, content=body, headers=headers), 422)
