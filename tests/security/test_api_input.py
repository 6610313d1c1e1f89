"""Hostile requests: sizes, forms that another site made, names, types, and what is served back."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from typing import Any

import pytest

from api_instance import PNG, SPEC, Account, Instance, api, manifest, problem
from vitrine_api.credentials import form_token
from vitrine_api.dependencies import SESSION_COOKIE
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output

__all__ = ["api"]


async def _raw(api: Instance, head: str, body: bytes = b"") -> str:
    """Send bytes as they are; return the answer's head."""
    settings = api.services.settings
    reader, writer = await asyncio.open_connection(settings.host, settings.port)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer.decode()


async def test_a_body_over_the_limit_is_refused_before_it_is_read(api: Instance) -> None:
    for path in ("/api/v1/login", "/login", "/api/v1/blobs", "/s/token/runs"):
        method = "PUT" if path.endswith("blobs") else "POST"
        # Not one byte of the body is sent, and the answer comes all the same.
        answer = await _raw(api, f"{method} {path} HTTP/1.1\nHost: x\nContent-Length: 99999999999")
        assert answer.startswith("HTTP/1.1 413"), path


async def test_a_body_without_an_announced_size_is_refused_as_it_grows(api: Instance) -> None:
    settings = api.services.settings
    reader, writer = await asyncio.open_connection(settings.host, settings.port)
    head = f"POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.operator.token}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    sent, most = 0, 100 * settings.max_body_bytes
    with contextlib.suppress(ConnectionError):
        while not answer.done() and sent < most:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536
            await asyncio.sleep(0)
    assert (await answer).startswith(b"HTTP/1.1 413")
    assert sent < most
    writer.close()


async def test_a_manifest_may_be_larger_than_other_bodies(api: Instance) -> None:
    someone = await api.account()
    body = {"manifest": {"spec": {**SPEC, "description": "x" * (2 << 20)}, "files": []}}
    assert problem(await someone.client.post("/api/v1/versions", json=body), 422)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"files": [{"path": "../x", "digest": sha256_bytes(b""), "size": 0}]}, "../x"),
        ({"files": [{"path": "/etc/passwd", "digest": sha256_bytes(b""), "size": 0}]}, "/etc/passwd"),
        ({"files": [{"path": "a", "digest": "md5:1", "size": 0}]}, "a"),
        ({"files": [{"path": "a", "digest": sha256_bytes(b""), "size": -1}]}, "a"),
        ({"files": [{"path": "a", "digest": sha256_bytes(b""), "size": 0}] * 2}, "a"),
        ({"files": "none"}, "files"),
        ({"spec": {**SPEC, "nam": "x"}}, "nam"),
        ({"spec": {"name": "x"}}, ""),
        (
            {"spec": {**SPEC, "package": {"requirements_file": "requirements.txt"}}},
            "package.requirements_file",
        ),
        ({"extra": 1}, "extra"),
    ],
)
async def test_each_fault_of_a_manifest_is_named(api: Instance, change: dict[str, Any], field: str) -> None:
    answer = await api.operator.client.post("/api/v1/versions", json={"manifest": manifest() | change})
    assert field in {item["field"] for item in problem(answer, 422)["errors"]}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"label": 1}', b'{"label": "x", "more": 1}', b"\xff"])
async def test_bodies_that_are_no_request(api: Instance, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.operator.client.post("/api/v1/tokens", content=body, headers=headers)
    problem(answer, 400 if body == b"\xff" else 422)


async def _version(api: Instance, **spec: Any) -> tuple[Account, dict[str, Any], str]:
    someone = await api.account()
    version = await api.ready(someone, spec={**SPEC, **spec})
    return someone, version, f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"count": "three"}, "inputs.count"),
        ({"count": 1.5}, "inputs.count"),
        ({"count": 10}, "inputs.count"),
        ({"text": "x" * 101}, "inputs.text"),
        ({"text": {"a": 1}}, "inputs.text"),
        ({"txt": "a"}, "inputs.txt"),
        ({"image": "not a file"}, "inputs.image"),
        ({"image": {"base64": ""}}, "inputs.image"),
        ({"image": {"base64": "%%%"}}, "inputs.image"),
        ({"image": {"base64": "aGVsbG8="}}, "inputs.image"),
        ({"image": {"digest": sha256_bytes(b"of somebody else"), "size": 1}}, "inputs.image"),
        ({"image": {"example": "../../etc/passwd"}}, "inputs.image"),
        ({"image": {"example": "echo.py"}}, "inputs.image"),
    ],
)
async def test_each_wrong_input_is_named(
    api: Instance, runnable: str, inputs: dict[str, Any], field: str
) -> None:
    answer = problem(await api.operator.client.post(runnable, json={"inputs": inputs}), 422)
    assert {item["field"] for item in answer["errors"]} == {field}
    name = field.removeprefix("inputs.")
    assert f"`{name}`" in answer["detail"]


@pytest.fixture(scope="module")
async def runnable(api: Instance) -> str:
    version = await api.ready(api.operator, name="hostile-inputs")
    return f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"


async def test_an_example_and_uploaded_bytes_are_taken(api: Instance, runnable: str) -> None:
    client = api.operator.client
    sent = (await client.put("/api/v1/blobs", content=PNG, headers={"Content-Type": "image/png"})).json()
    for image in ({"example": "a.png"}, sent):
        answer = await client.post(runnable, json={"inputs": {"image": image}})
        assert answer.status_code == 202, answer.text
        assert answer.json()["inputs"]["image"]["digest"] == sha256_bytes(PNG)
        assert answer.json()["inputs"]["image"]["media_type"] == "image/png"


async def test_an_image_that_is_empty_or_too_large_is_refused(api: Instance) -> None:
    small = [{"name": "image", "type": "image", "max_bytes": 20}]
    someone, _, path = await _version(api, inputs=small)
    for data, words in ((b"", "0 bytes"), (PNG, "at most 20")):
        answer = await someone.client.post(path, files={"input.image": ("a.png", data, "image/png")})
        assert words in problem(answer, 422)["detail"]


async def test_outputs_cannot_run_in_the_apis_origin(api: Instance) -> None:
    someone, _, path = await _version(api)
    run = (await someone.client.post(path, json={})).json()
    page = b"<script>alert(document.cookie)</script>"
    digest = await api.platform.blobs.put_bytes(page)
    files = [
        Output(name="page", type="file", digest=digest, media_type="text/html", filename='x"\r\nA: b.html'),
        Output(name="svg", type="image", digest=digest, media_type="image/svg+xml", filename="x.svg"),
        Output(name="png", type="image", digest=digest, media_type="image/png", filename="x.png"),
    ]
    await api.finish(run["id"], files)
    for output in (await someone.client.get(run["url"])).json()["outputs"]:
        answer = await someone.client.get(output["url"])
        assert answer.content == page
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        inline = output["name"] == "png"
        assert answer.headers["content-disposition"].startswith("inline" if inline else "attachment")
        assert answer.headers["content-type"] == ("image/png" if inline else "application/octet-stream")
        assert "a" not in answer.headers


async def _logged_in(api: Instance, someone: Account) -> Any:
    user = await api.services.repository.accounts.user(someone.id)
    assert user is not None
    return api.client(cookies={SESSION_COOKIE: await api.services.sessions.open(user)})


async def test_forms_and_requests_that_another_site_made_are_refused(api: Instance) -> None:
    someone = await api.account()
    browser = await _logged_in(api, someone)
    link = await someone.share((await api.ready(someone))["reference"])
    stale = form_token(secrets.token_urlsafe(16))
    for token in ({}, {"csrf_token": ""}, {"csrf_token": stale}):
        for path in (
            "/settings/tokens",
            f"/links/{link['id']}/revoke",
            f"/s/{link['token']}/runs",
            "/logout",
            "/login",
        ):
            assert (await browser.post(path, data=token)).status_code == 403, path
    problem(await browser.post("/api/v1/tokens", json={"label": "forged"}), 403)
    problem(await browser.delete(f"/api/v1/links/{link['id']}"), 403)
    assert (await browser.get("/api/v1/whoami")).json()["name"] == someone.name
    right = {"X-CSRF-Token": form_token(browser.cookies[SESSION_COOKIE])}
    assert (await browser.post("/api/v1/tokens", json={"label": "mine"}, headers=right)).status_code == 201


async def test_a_login_changes_the_cookies_and_cannot_lead_elsewhere(api: Instance) -> None:
    someone = await api.account()
    browser = api.client()
    page = (await browser.get("/login", params={"next": "//evil.example"})).text
    found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page)
    assert found is not None
    fields = {"csrf_token": found[1], "email": someone.email, "password": someone.password}
    answer = await browser.post("/login", data={**fields, "next": "https://evil.example/"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookies = answer.headers.get_list("set-cookie")
    assert all("HttpOnly" in cookie and "SameSite=lax" in cookie for cookie in cookies)
    assert (await browser.get("/settings")).status_code == 200
    # The form token from before the login is worth nothing after it.
    assert (await browser.post("/settings/tokens", data={"csrf_token": found[1]})).status_code == 403


async def test_every_answer_is_hardened_and_named(api: Instance) -> None:
    for path in ("/", "/healthz", "/api/v1/whoami", "/nowhere", "/api/v1/nowhere", "/static/favicon.svg"):
        answer = await api.client().get(path, headers={"X-Request-Id": "req-of-the-test"})
        assert answer.headers["x-request-id"] == "req-of-the-test", path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src" not in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    odd = await api.client().get("/healthz", headers={"X-Request-Id": "<script>" * 20})
    assert odd.headers["x-request-id"].startswith("req_")


async def test_a_fault_of_ours_is_a_problem_without_inner_words(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the secret inner words")

    monkeypatch.setattr(api.services.registry, "authenticate", broken)
    answer = await api.client().post("/api/v1/login", json={"email": "a@b.org", "password": "x"})
    assert "secret" not in problem(answer, 500)["detail"]
