"""The command line against the real api: what is sent, what is printed, how it ends."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_instance import Account, Instance
from vitrine import Client
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output
from vitrine_common.messages import BuildSucceeded, RunFinished
from vitrine_common.states import RunState

FILTER = Path(__file__).parents[3] / "examples/script-filter"


class Counting(httpx.HTTPTransport):
    """Sends requests, and counts them by method and the last part of their path."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen[f"{request.method} {request.url.path.rpartition('/')[2]}"] += 1
        return super().handle_request(request)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FILTER, tmp_path / "filter"))


def pushed(url: str, token: str, folder: Path, journal: Path) -> tuple[dict[str, Any], Counter[str], int]:
    """Push; return the version, the calls to the api and the number of parts that went to the store."""
    calls, store = Counting(), Counting()
    with Client(
        url,
        token,
        transport=calls,
        store_client=lambda: httpx.Client(transport=store),
        journal=journal,
    ) as client:
        version = client.push(folder)
    return version.document(), calls.seen, sum(store.seen.values())


async def test_a_second_push_uploads_only_what_is_missing(
    api: Instance, author: Account, model: Path, tmp_path: Path
) -> None:
    async def push() -> tuple[dict[str, Any], Counter[str], int]:
        return await asyncio.to_thread(pushed, api.url, author.token, model, tmp_path / "journal")

    first, calls, parts = await push()
    assert first["state"] == "building"
    assert parts == calls["POST complete"] == first["file_count"]

    again, calls, parts = await push()
    assert again["id"] == first["id"]
    assert (parts, calls) == (0, Counter({"POST missing": 1, "POST versions": 1}))

    (model / "filter.py").write_text((model / "filter.py").read_text() + "# changed\n")
    changed, calls, parts = await push()
    assert (parts, calls["POST complete"]) == (1, 1)
    assert changed["number"] == 2


async def build(api: Instance, author: Account) -> None:
    """Answer the author's build as a builder would, once there is one."""
    while True:
        page = (await author.client.get("/api/v1/models")).json()["items"]
        if page:
            latest = (await author.client.get(f"/api/v1/models/{author.name}/{page[0]['name']}")).json()
            if latest["latest"] is not None:
                break
        await asyncio.sleep(0.05)
    build_id = latest["latest"]["build_id"]
    await api.platform.bus.send(BuildSucceeded(build_id=build_id, environment_digest=sha256_bytes(b"e")))


async def test_push_share_and_run_by_link(
    api: Instance, author: Account, command: Any, model: Path, tmp_path: Path
) -> None:
    building = asyncio.create_task(build(api, author))
    said = await command("push", str(model))
    await building
    assert said.status == 0, said.err
    reference, digest = said.out.split()
    assert reference == f"{author.name}/script-filter@1"
    assert digest.startswith("sha256:")

    models = await command("models", "--json")
    assert models.json["items"][0]["name"] == "script-filter"
    assert (await command("models", f"{author.name}/script-filter")).out.splitlines()[1].split()[1] == "ready"

    shared = await command("share", reference, "--expires", "14d", "--max-runs", "3", "--label", "review")
    assert shared.status == 0, shared.err
    link = shared.out.strip()
    assert link.startswith(f"{api.url}/s/")

    picture = f"image=@{model / 'samples/harbour.jpg'}"
    nobody = {"VITRINE_TOKEN": "", "VITRINE_URL": "http://127.0.0.1:9"}
    started = await command("run", link, "-i", picture, "--no-wait", "--json", **nobody)
    assert started.status == 0, started.err
    assert started.json["inputs"]["image"]["filename"] == "harbour.jpg"

    running = asyncio.create_task(command("run", reference, "-i", picture, "-o", str(tmp_path / "out")))
    run_id = await first_run(author, reference)
    result = await api.platform.blobs.put_bytes(b"\x89PNG")
    output = Output(
        name="output", type="image", digest=result, size=4, media_type="image/png", filename="image.png"
    )
    finished = await api.finish(run_id, [output], log_tail="printed\n")
    await api.platform.bus.send(
        RunFinished(run_id=run_id, version_id=finished.version_id, state=RunState.SUCCEEDED)
    )
    ended = await running
    assert ended.status == 0, ended.err
    assert (tmp_path / "out/image.png").read_bytes() == b"\x89PNG"
    assert (await command("logs", run_id[-8:])).out == "printed\n"
    assert (await command("runs", reference)).out.count("succeeded") == 1

    links = (await command("links", "--json")).json["items"]
    revoked = await command("revoke", links[0]["id"][-8:])
    assert revoked.status == 0, revoked.err
    for words in (("run", link), ("run", link, "-i", picture)):
        gone = await command(*words, **nobody)
        assert (gone.status, gone.out) == (1, "")
        assert "revoked" in gone.err
        assert "Traceback" not in gone.err


async def first_run(author: Account, reference: str) -> str:
    """The id of the author's own first run of a version."""
    while True:
        page = await author.client.get("/api/v1/runs", params={"version": reference})
        own = [one for one in page.json()["items"] if one["link_id"] is None]
        if own:
            return str(own[0]["id"])
        await asyncio.sleep(0.05)


async def test_bad_bundles_are_refused_and_make_no_model(author: Account, command: Any, model: Path) -> None:
    spec = (model / "vitrine.yaml").read_text()
    line = len(spec.splitlines()) + 1
    (model / "vitrine.yaml").write_text(spec + "colour: red\n")
    said = await command("push", str(model))
    assert said.status == 1
    assert f"vitrine.yaml:{line}: colour: is not a known key" in said.err

    (model / "vitrine.yaml").write_text(spec)
    (model / "samples/harbour.jpg").unlink()
    said = await command("push", str(model), "--json")
    assert said.status == 1
    assert "`samples/harbour.jpg` is not in the bundle" in said.json["problems"][0]["message"]

    (model / "leak").symlink_to("/etc/passwd")
    said = await command("push", str(model))
    assert (said.status, "leak: is a symbolic link out of the directory" in said.err) == (1, True)
    assert (await author.client.get("/api/v1/models")).json()["items"] == []


async def test_mistakes_end_with_the_right_status(
    api: Instance, author: Account, command: Any, tmp_path: Path
) -> None:
    unknown = await command("run", f"{author.name}/nothing@1", "--json")
    assert (unknown.status, unknown.json["status"]) == (1, 404)
    nobody = await command("whoami", VITRINE_TOKEN="vt_wrong")
    assert (nobody.status, "vitrine login" in nobody.err) == (1, True)
    version = await api.ready(author)
    wrong = await command("run", version["reference"], "-i", "count=many", "-i", "txt=x")
    assert wrong.status == 1
    assert "count" in wrong.err
    assert "did you mean `text`" in wrong.err
    building = await author.push()
    early = await command("run", building["reference"], "--json")
    assert (early.status, early.json["status"]) == (1, 409)
    away = await command("whoami", VITRINE_URL="http://127.0.0.1:9")
    assert away.status == 1
    assert "Nothing answers at http://127.0.0.1:9" in away.err
    assert "vitrine up" in away.err


async def test_login_keeps_a_token_that_works(api: Instance, author: Account, command: Any) -> None:
    nobody = {"VITRINE_TOKEN": "", "VITRINE_URL": ""}
    wrong = await command("login", "--url", api.url, "--email", author.email, VITRINE_PASSWORD="no", **nobody)
    assert wrong.status == 1
    said = await command(
        "login", "--url", api.url, "--email", author.email, VITRINE_PASSWORD=author.password, **nobody
    )
    assert said.status == 0, said.err
    who = await command("whoami", "--json", **nobody)
    assert (who.json["email"], who.json["url"]) == (author.email, api.url)
    made = await command("tokens", "--new", "ci", "--scope", "read", "--expires", "7d", "--json", **nobody)
    assert made.json["scopes"] == ["read"]
    assert "ci" in (await command("tokens", **nobody)).out
    revoked = await command("tokens", "--revoke", made.json["id"][-8:], **nobody)
    assert revoked.status == 0, revoked.err
    assert (await command("whoami", VITRINE_TOKEN=made.json["token"])).status == 1
