"""Pages as a browser without scripts, and one with htmx, would use them."""

from __future__ import annotations

import asyncio
import html
import io
import json
import re
import secrets
import zipfile
from pathlib import Path

import pytest

from api_instance import PNG, SPEC, Instance
from page_visits import log_in, token_in
from vitrine_api import permalinks
from vitrine_api.credentials import hash_secret
from vitrine_api.rendering import CONTENT_SECURITY_POLICY
from vitrine_common.documents import Output, RunRequest, ShareLink
from vitrine_common.messages import RunFinished, RunProgress
from vitrine_common.states import Reason, RunState

HTMX = {"HX-Request": "true"}


def fragments(text: str) -> list[tuple[str, str]]:
    """The events of an event stream of fragments."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines()]
        names = [value for name, _, value in lines if name == "event"]
        if names:
            found.append((names[0], "\n".join(value for name, _, value in lines if name == "data")))
    return found


async def test_logging_in_and_out(api: Instance) -> None:
    someone = await api.account()
    browser = await log_in(api, someone)
    page = await browser.get("/")
    assert someone.name in page.text
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    out = await browser.post("/logout", data={"csrf_token": token_in(page.text)})
    assert out.url.path == "/login"
    assert (await browser.get("/settings")).url.path == "/login"


async def test_whoever_looks_at_an_address_first_gets_its_headers_alone(api: Instance) -> None:
    owner = await api.account()
    version = await api.ready(owner, name="looked-at")
    link = await owner.share(version["reference"])
    run = await api.client().post(
        f"/api/v1/links/{link['token']}/runs", files={"input.image": ("a.png", PNG, "image/png")}
    )
    place = f"/api/v1/links/{link['token']}"
    visitor = {"X-Vitrine-Visitor": run.json()["visitor"]}
    stream = f"{place}/runs/{run.json()['id']}/events"
    async with asyncio.timeout(60):  # the run goes on, and so would its events
        for path, status, kind in [
            (f"/s/{link['token']}", 200, "text/html"),
            ("/s/of-nobody", 404, "text/html"),
            (place, 200, "application/json"),
            (stream, 200, "text/event-stream"),
        ]:
            looked = await api.client(headers=visitor).head(path)
            assert (looked.status_code, looked.content) == (status, b""), path
            assert looked.headers["content-type"].startswith(kind), path


async def test_a_wrong_password_shows_the_form_again(api: Instance) -> None:
    browser = api.client()
    page = (await browser.get("/login")).text
    fields = {"csrf_token": token_in(page), "email": "who@example.org", "password": "wrong"}
    answer = await browser.post("/login", data=fields)
    assert answer.status_code == 401
    assert "who@example.org" in answer.text
    assert "password is wrong" in answer.text


async def test_signing_up_by_an_invite(api: Instance) -> None:
    invite = (await api.operator.client.post("/api/v1/invites", json={})).json()
    browser = api.client(follow_redirects=True)
    page = await browser.get("/signup", params={"invite": invite["code"]})
    name = f"page-{secrets.token_hex(4)}"
    fields = {"csrf_token": token_in(page.text), "invite": invite["code"], "name": name}
    short = await browser.post(
        "/signup", data={**fields, "email": f"{name}@example.org", "password": "short"}
    )
    assert short.status_code == 422
    assert "take at least 10" in short.text
    done = await browser.post(
        "/signup", data={**fields, "email": f"{name}@example.org", "password": "s" * 12}
    )
    assert (done.status_code, done.url.path) == (200, "/")
    assert name in done.text


async def test_the_owners_pages(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone, name="shown")
    run = (await someone.client.post(f"/api/v1/versions/{someone.name}/shown/1/runs", json={})).json()
    await api.finish(run["id"], [Output(name="output", type="text", value='"it said this"')])
    browser = await log_in(api, someone)
    for path, words in (
        ("/", "shown"),
        (f"/models/{someone.name}/shown", version["digest"][7:15]),
        (f"/models/{someone.name}/shown/versions/1", "python echo.py"),
        (f"/models/{someone.name}/shown/versions/1/monitor", f"{someone.name}/shown@1"),
        ("/runs", run["id"]),
        (f"/runs?reference={someone.name}/shown", run["id"]),
        (f"/runs/{run['id']}", "it said this"),
        ("/links", f"{someone.name}/shown@1"),
        ("/trials", "rial"),
        ("/settings", "oken"),
    ):
        answer = await browser.get(path)
        assert answer.status_code == 200, path
        assert words in answer.text, path


async def test_making_and_revoking_a_link(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    browser = await log_in(api, someone)
    token = token_in((await browser.get("/links")).text)
    wrong = await browser.post(
        "/links",
        data={"csrf_token": token, "version": version["reference"], "expires_days": "0", "label": "kept"},
    )
    assert wrong.status_code == 422
    assert "kept" in wrong.text
    fields = {"csrf_token": token, "version": version["reference"], "expires_days": "3", "max_runs": "5"}
    made = await browser.post("/links", data=fields)
    found = re.search(r"/s/([A-Za-z0-9_-]{22})", made.text)
    assert found is not None
    assert (await api.client().get(f"/s/{found[1]}")).status_code == 200
    link = (await someone.client.get("/api/v1/links")).json()["items"][0]
    assert (link["max_runs"], link["state"]) == (5, "active")
    await browser.post(f"/links/{link['id']}/revoke", data={"csrf_token": token})
    gone = await api.client().get(f"/s/{found[1]}")
    assert (gone.status_code, gone.headers["content-type"]) == (410, "text/html; charset=utf-8")
    assert found[1] not in (await browser.get("/links")).text


async def test_a_token_made_on_the_page_is_shown_once(api: Instance) -> None:
    someone = await api.account()
    browser = await log_in(api, someone)
    token = token_in((await browser.get("/settings")).text)
    fields = {"csrf_token": token, "name": "for ci", "expires_days": "7", "scope": ["read"]}
    made = await browser.post("/settings/tokens", data=fields)
    secret = re.search(r"vt_[A-Za-z0-9_-]{40,}", made.text)
    assert secret is not None
    assert secret[0] not in (await browser.get("/settings")).text
    who = await api.client(headers={"Authorization": f"Bearer {secret[0]}"}).get("/api/v1/whoami")
    assert who.json()["scopes"] == ["read"]


@pytest.fixture
async def link(api: Instance) -> str:
    someone = await api.account()
    version = await api.ready(someone)
    return str((await someone.share(version["reference"], max_runs=9, label="private note"))["token"])


async def test_a_visitor_runs_the_model_by_the_plain_form(api: Instance, link: str) -> None:
    browser = api.client(follow_redirects=True)
    page = await browser.get(f"/s/{link}")
    assert SPEC["description"] in page.text
    assert "private note" not in page.text
    assert (await browser.get(f"/s/{link}/examples/image/0")).content == PNG
    cookie = next(c for c in page.headers.get_list("set-cookie") if c.startswith("vitrine_visitor"))
    assert f"Path=/s/{link}" in cookie
    token = token_in(page.text)
    wrong = await browser.post(
        f"/s/{link}/runs", data={"csrf_token": token, "input.text": "mine", "input.count": "x"}
    )
    assert wrong.status_code == 422
    assert 'value="mine"' in wrong.text
    done = await browser.post(
        f"/s/{link}/runs", data={"csrf_token": token, "example.image": "0", "input.text": "a"}
    )
    assert (done.status_code, done.url.path.startswith(f"/s/{link}/runs/run_")) == (200, True)
    run_id = done.url.path.rpartition("/")[2]
    await api.finish(
        run_id, [Output(name="output", type="labels", value=json.dumps([{"label": "seven", "score": 0.9}]))]
    )
    shown = await browser.get(done.url.path)
    assert "seven" in shown.text
    assert (await browser.get(f"{done.url.path}/inputs/image")).content == PNG
    assert run_id in (await browser.get(f"/s/{link}")).text


async def test_a_visitor_runs_the_model_by_script_and_follows_it(api: Instance, link: str) -> None:
    browser = api.client()
    token = token_in((await browser.get(f"/s/{link}")).text)
    wrong = await browser.post(
        f"/s/{link}/runs", data={"csrf_token": token, "input.count": "x"}, headers=HTMX
    )
    assert wrong.status_code == 422
    assert "<html" not in wrong.text
    panel = await browser.post(f"/s/{link}/runs", data={"csrf_token": token}, headers=HTMX)
    assert panel.status_code == 200
    assert "<html" not in panel.text
    events = re.search(rf'sse-connect="(/s/{link}/runs/(run_\w+)/events)"', panel.text)
    assert events is not None
    run_id, text = events[2], ""
    async with browser.stream("GET", events[1]) as stream:
        async for chunk in stream.aiter_text():
            text += chunk
            if "event: status" in text and "event: progress" not in text:
                news = RunProgress(
                    run_id=run_id, state=RunState.QUEUED, fraction=0.25, message="step 1", log="it says"
                )
                await api.platform.bus.tell(news)
            if "event: progress" in text and "event: done" not in text:
                outputs = [Output(name="output", type="label", value='{"label": "seven"}')]
                await api.finish(run_id, outputs)
                fact = RunFinished(run_id=run_id, version_id="version_x", state=RunState.SUCCEEDED)
                await api.platform.bus.send(fact)
    told = fragments(text)
    assert [name for name, _ in told] == ["status", "progress", "done"]
    assert "step 1" in told[1][1]
    assert "it says" in told[1][1], "what is printed is the answer, and is shown as it grows"
    assert "seven" in told[2][1]


async def test_a_failed_run_says_whose_fault_it_is(api: Instance, link: str) -> None:
    browser = api.client(follow_redirects=True)
    token = token_in((await browser.get(f"/s/{link}")).text)
    page = await browser.post(f"/s/{link}/runs", data={"csrf_token": token})
    run_id = page.url.path.rpartition("/")[2]
    await api.finish(
        run_id, state=RunState.FAILED, reason=Reason.USER_ERROR, message="it exited with status 1"
    )
    shown = (await browser.get(page.url.path)).text
    assert "it exited with status 1" in shown
    assert "stopped with an error" in shown


async def test_a_visitor_cancels_a_run(api: Instance, link: str) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def put(message: object) -> None:
        heard.put_nowait(message.data)  # type: ignore[attr-defined]

    listening = await api.platform.bus.client.subscribe("run.cancel", cb=put)
    browser = api.client(follow_redirects=True)
    token = token_in((await browser.get(f"/s/{link}")).text)
    page = await browser.post(f"/s/{link}/runs", data={"csrf_token": token})
    await browser.post(f"{page.url.path}/cancel", data={"csrf_token": token})
    assert page.url.path.rpartition("/")[2].encode() in await asyncio.wait_for(heard.get(), 30)
    await listening.unsubscribe()


async def test_an_unknown_link_and_an_unknown_page(api: Instance) -> None:
    for path in ("/s/nothing-of-the-kind", "/nowhere"):
        answer = await api.client().get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_assets_may_be_kept_and_are_what_the_pages_name(api: Instance) -> None:
    page = (await api.client().get("/login")).text
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert assets
    for url in assets:
        answer = await api.client().get(url.replace("&amp;", "&"))
        assert answer.status_code == 200, url
        assert "immutable" in answer.headers["cache-control"], url


async def test_a_run_as_code_is_the_same_run_again(api: Instance, tmp_path: Path) -> None:
    someone = await api.account()
    link = await someone.share((await api.ready(someone))["reference"])
    browser = api.client(follow_redirects=True)
    token = token_in((await browser.get(link["url"])).text)
    said = 'it\'s "so"; $HOME\n@you'
    page = await browser.post(
        f"{link['url']}/runs",
        data={"csrf_token": token, "input.text": said, "input.count": "2"},
        files={"input.image": ("my; 'photo'.png", PNG, "image/png")},
    )
    run_id = page.url.path.rpartition("/")[2]
    await api.finish(run_id, [Output(name="output", type="text", value='"done"')])
    shown = (await browser.get(page.url.path)).text
    found = re.search(r'id="code-run_\w+-curl"[^>]*>(.*?)</pre>', shown, re.DOTALL)
    assert found is not None
    archive = zipfile.ZipFile(io.BytesIO((await browser.get(f"{page.url.path}/archive")).content))
    for name in archive.namelist():
        if name.startswith("inputs/"):
            (tmp_path / name.removeprefix("inputs/")).write_bytes(archive.read(name))
    command = html.unescape(found[1]).replace("wait=60", "wait=0")
    process = await asyncio.create_subprocess_shell(
        command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, complained = await process.communicate()
    assert process.returncode == 0, complained
    again = json.loads(printed)["inputs"]
    requests = api.database_as("runner").collection(RunRequest)
    assert again == json.loads((await requests.get(run_id)).inputs)


async def test_the_address_of_a_run_can_be_handed_on(api: Instance, link: str) -> None:
    """Whoever has it sees that one run with its files, and can do nothing to it."""
    maker = api.client(headers={"X-Vitrine-Visitor": "m" * 22})
    base = f"/api/v1/links/{link}/runs"
    run_ids = [(await maker.post(base, json={"inputs": {}})).json()["id"] for _ in range(2)]
    for run_id in run_ids:
        await api.finish(run_id, [Output(name="output", type="text", value='"seven"')])
    stored = await api.platform.database.collection(ShareLink).find_one({"token_hash": hash_secret(link)})
    assert stored is not None
    key = permalinks.key_of(stored, run_ids[0])
    other = api.client()
    path = f"/s/{link}/runs/{run_ids[0]}"
    assert (await other.get(path)).status_code == 404
    assert (await other.get(f"/s/{link}/runs/{run_ids[1]}?key={key}")).status_code == 404
    page = await other.get(f"{path}?key={key}")
    assert page.status_code == 200
    assert f"{path}?key={key}" in page.text
    # What the page shows lies below it, and needs the key no more.
    assert (await other.get(f"{path}/inputs/nothing")).status_code == 404
    assert (await other.get(path)).status_code == 200
    assert (await other.get(f"/s/{link}/runs/{run_ids[1]}")).status_code == 404
    token = token_in((await other.get(f"/s/{link}")).text)
    refused = await other.post(f"{path}/cancel", data={"csrf_token": token})
    assert refused.status_code in {403, 404}
    assert run_ids[0] not in (await other.get(f"/s/{link}")).text
