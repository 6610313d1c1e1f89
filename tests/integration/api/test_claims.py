"""Claims over HTTP: datasets, checks by accounts and links, what each may see, quotas, history, receipts."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any

import pytest

from api_instance import FILES, Account, Instance, api, manifest, problem
from claims_on_api import SECRET, finish_check, push_dataset
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import ClaimCheckRequest

__all__ = ["api"]

CLAIMS: list[dict[str, Any]] = [
    {
        "name": "accuracy",
        "statement": "It reads nine of ten.",
        "command": "python echo.py",
        "dataset": "held@1",
        "metric": "accuracy",
        "expected": 0.9,
        "tolerance": 0.02,
        "repeats": 2,
        "row": "ours",
        "column": "Accuracy",
        "extend": {
            "path": "mine",
            "max_files": 2,
            "max_bytes": "1k",
            "accept": [".png"],
            "label": "The digit",
        },
    },
    {"name": "speed", "statement": "It is fast.", "command": "python echo.py", "metric": "ms", "expected": 3},
]
SPEC = {**manifest()["spec"], "claims": CLAIMS}


async def claiming(api: Instance, *, private: bool = False) -> tuple[Account, dict[str, Any]]:
    """Somebody with a version that claims something, on a dataset."""
    account = await api.account()
    await push_dataset(account, private=private)
    return account, await api.ready(account, name=f"c-{secrets.token_hex(3)}", spec=SPEC)


async def test_a_dataset_is_named_by_number_and_digest_and_is_its_owners_alone(api: Instance) -> None:
    owner, other = await api.account(), await api.account()
    first = await push_dataset(owner)
    again = await push_dataset(owner, private=True)
    assert (first["reference"], first["private"]) == (f"{owner.name}/held@1", False)
    assert (again["id"], again["private"]) == (first["id"], True)
    for version in ("1", "latest", first["digest"]):
        shown = await owner.client.get(f"/api/v1/datasets/{owner.name}/held/{version}")
        assert [file["path"] for file in shown.json()["files"]] == [SECRET]
        problem(await other.client.get(f"/api/v1/datasets/{owner.name}/held/{version}"), 404)
    assert [item["id"] for item in (await owner.client.get("/api/v1/datasets")).json()["items"]] == [
        first["id"]
    ]
    assert (await other.client.get("/api/v1/datasets")).json()["items"] == []
    # A digest is a name, not a permission: whoever lacks the bytes cannot have a dataset of them.
    listed = manifest({}, {SECRET: b"a,b\n1,2\n"})["files"]
    refused = await other.client.post("/api/v1/datasets", json={"name": "mine", "files": listed})
    assert "has not been uploaded" in problem(refused, 422)["detail"]


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "a\\b"])
async def test_a_dataset_has_no_paths_that_lead_out_of_it(api: Instance, path: str) -> None:
    owner = await api.account()
    await owner.upload({"x": b"x"})
    files = [{"path": path, "digest": sha256_bytes(b"x"), "size": 1}]
    problem(await owner.client.post("/api/v1/datasets", json={"name": "held", "files": files}), 422)
    problem(await owner.client.post("/api/v1/datasets", json={"name": path, "files": []}), 422)


async def test_a_version_whose_dataset_lacks_is_refused_with_the_way_out(api: Instance) -> None:
    owner, other = await api.account(), await api.account()
    await push_dataset(other)
    await owner.upload(FILES)
    body = {"manifest": manifest(SPEC), "model": "claims"}
    said = problem(await owner.client.post("/api/v1/versions", json=body), 422)
    assert said["errors"][0]["field"] == "claims[0].dataset"
    assert "vitrine data push DIR --name held" in said["detail"]


async def test_an_account_has_a_claim_checked_and_reads_the_verdict(api: Instance) -> None:
    owner, version = await claiming(api)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/claims"
    listed = (await owner.client.get(path)).json()
    assert [(claim["name"], claim["tally"]["reproduced"]) for claim in listed] == [
        ("accuracy", 0),
        ("speed", 0),
    ]
    body = {"ref": version["reference"], "claim": "accuracy"}
    started = await owner.client.post("/api/v1/claims/checks", json=body)
    assert started.status_code == 202, started.text
    told = started.json()
    assert (told["state"], told["final"], told["repeats_wanted"], told["receipt_url"]) == (
        "queued",
        False,
        2,
        None,
    )
    await finish_check(api, told["id"], (0.9, 0.92))
    check = (await owner.client.get(told["url"])).json()
    assert (check["verdict"], check["measured"]) == ("reproduced", pytest.approx(0.91))
    assert [repeat["value"] for repeat in check["repeats"]] == [0.9, 0.92]
    events = (await owner.client.get(told["events_url"])).text
    assert "event: end" in events
    (first, _) = (await owner.client.get(path)).json()
    assert first["tally"] == {
        "reproduced": 1,
        "differs": 0,
        "failed": 0,
        "last_day": utcnow().date().isoformat(),
    }
    assert first["last"]["measured"] == pytest.approx(0.91)


async def test_wishes_that_make_no_sense_are_refused(api: Instance) -> None:
    owner, version = await claiming(api)
    url = "/api/v1/claims/checks"
    said = problem(await owner.client.post(url, json={"ref": version["reference"], "claim": "none"}), 404)
    assert "accuracy, speed" in said["detail"]
    problem(await owner.client.post(url, content=b"[1]"), 422)
    problem(await owner.client.post(url, content=b"{"), 422)
    data = {"ref": version["reference"], "claim": "accuracy"}
    png = ("a.png", b"x" * 10, "image/png")
    for files, sent, says in (
        ([("file", png)], {}, "has no label"),
        ([("file", ("a.txt", b"x", "text/plain"))], {"label": "3"}, "is none of .png"),
        ([("file", ("a.png", b"x" * 2000, "image/png"))], {"label": "3"}, "at most 1000"),
        ([("file", png)] * 3, {"label": ["1", "2", "3"]}, "at most 2"),
        ([("file", ("a.png", b"", "image/png"))], {"label": "3"}, "is empty"),
    ):
        answer = await owner.client.post(url, data={**data, **sent}, files=files)
        assert says in problem(answer, 422)["detail"]
    answer = await owner.client.post(url, data={**data, "claim": "speed"}, files=[("file", png)])
    assert "takes no files" in problem(answer, 422)["detail"]


async def test_files_of_ones_own_are_kept_apart_from_the_history_and_from_the_author(api: Instance) -> None:
    owner, version = await claiming(api)
    link = await owner.share(version["reference"])
    base = f"/api/v1/links/{link['token']}/claims"
    started = await api.client().post(
        f"{base}/checks",
        data={"claim": "accuracy", "label": "7"},
        files=[("file", ("my face.png", b"x", "image/png"))],
    )
    assert started.status_code == 202, started.text
    told = started.json()
    await finish_check(api, told["id"], (0.9, 0.9))
    visitor = api.client(headers={"X-Vitrine-Visitor": told["visitor"]})
    mine = (await visitor.get(told["url"])).json()
    assert [(item["filename"], item["label"]) for item in mine["own_inputs"]] == [("my face.png", "7")]
    assert mine["verdict"] == "reproduced"
    authors = await owner.client.get(f"/api/v1/claims/checks/{told['id']}")
    assert "my face" not in authors.text
    assert (authors.json()["own_inputs_count"], authors.json()["measured"]) == (1, None)
    assert (await visitor.get(base)).json()[0]["tally"]["reproduced"] == 0


async def test_a_holder_learns_nothing_of_a_private_dataset_but_its_name_and_digest(api: Instance) -> None:
    owner, version = await claiming(api, private=True)
    link = await owner.share(version["reference"])
    base = f"/api/v1/links/{link['token']}/claims"
    started = (await api.client().post(f"{base}/checks", json={"claim": "accuracy"})).json()
    await finish_check(api, started["id"], (None,))
    visitor = api.client(headers={"X-Vitrine-Visitor": started["visitor"]})
    seen = [
        await visitor.get(started["url"]),
        await visitor.get(started["events_url"]),
        await visitor.get(base),
    ]
    seen.append(await visitor.get(f"{base}/checks"))
    assert all(answer.status_code == 200 for answer in seen)
    assert not [answer.text for answer in seen if SECRET in answer.text]
    assert seen[0].json()["reason"] == "user_error"
    problem(await visitor.get(f"/api/v1/datasets/{owner.name}/held/1"), 401)
    problem(await visitor.get(f"/api/v1/links/{link['token']}/datasets/held/1"), 404)


async def test_a_holder_of_an_open_dataset_reads_why_a_check_failed(api: Instance) -> None:
    owner, version = await claiming(api)
    link = await owner.share(version["reference"])
    base = f"/api/v1/links/{link['token']}/claims"
    started = (await api.client().post(f"{base}/checks", json={"claim": "accuracy"})).json()
    await finish_check(api, started["id"], (None,))
    visitor = api.client(headers={"X-Vitrine-Visitor": started["visitor"]})
    check = (await visitor.get(started["url"])).json()
    assert (check["verdict"], check["repeats"][0]["log_tail"]) == ("failed", "KeyError")
    stranger = api.client(headers={"X-Vitrine-Visitor": secrets.token_urlsafe(16)})
    for address in (started["url"], started["events_url"], f"{started['url']}/receipt"):
        problem(await stranger.get(address), 404)
    problem(await stranger.post(f"{started['url']}/cancel"), 404)


async def test_a_blind_link_shows_no_names_and_no_history(api: Instance) -> None:
    owner, version = await claiming(api)
    public = await owner.share(version["reference"])
    first = (
        await api.client().post(f"/api/v1/links/{public['token']}/claims/checks", json={"claim": "accuracy"})
    ).json()
    await finish_check(api, first["id"], (0.9, 0.9))
    link = await owner.share(version["reference"], blind=True)
    base = f"/api/v1/links/{link['token']}/claims"
    listed = await api.client().get(base)
    started = (await api.client().post(f"{base}/checks", json={"claim": "accuracy"})).json()
    await finish_check(api, started["id"], (0.9, None), tally="blind/accuracy:failed", blind=True)
    visitor = api.client(headers={"X-Vitrine-Visitor": started["visitor"]})
    check = await visitor.get(started["url"])
    for answer in (listed, check):
        for name in (owner.name, "held", SECRET, version["digest"], version["reference"], "echo.py"):
            assert name not in answer.text, name
    assert (listed.json()[0]["tally"], listed.json()[0]["last"]) == (None, None)
    problem(await owner.client.get(f"/api/v1/claims/checks/{started['id']}"), 404)
    ids = [item["id"] for item in (await owner.client.get("/api/v1/claims/checks")).json()["items"]]
    assert ids == [first["id"]]
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/claims"
    tally = (await owner.client.get(path)).json()[0]["tally"]
    assert (tally["reproduced"], tally["failed"]) == (1, 0), "one blind check is too few to hide in"


async def test_the_pages_of_a_blind_or_private_claim_show_no_names(api: Instance) -> None:
    owner, version = await claiming(api, private=True)
    for wishes in ({"blind": True}, {}):
        link = await owner.share(version["reference"], **wishes)
        visitor = api.client(follow_redirects=True)
        page = await visitor.get(f"/s/{link['token']}")
        assert "It reads nine of ten." in page.text
        form = {
            "claim": "accuracy",
            "csrf_token": re.findall(r'name="csrf_token" value="([^"]+)"', page.text)[0],
        }
        check = await visitor.post(f"/s/{link['token']}/claims/checks", data=form)
        assert check.status_code == 200, check.text
        path = check.url.path
        await finish_check(api, path.rpartition("/")[2], (0.9, None), blind=bool(wishes))
        shown = [page, check, await visitor.get(path), await visitor.get(f"{path}/events")]
        shown.append(await visitor.get(f"/s/{link['token']}"))
        assert "Failed" in shown[2].text
        names = [SECRET, *([owner.name, "held@1", version["digest"], "held/"] if wishes else [])]
        assert not [(name, str(one.url)) for one in shown for name in names if name in one.text]


async def test_checks_at_once_never_exceed_a_links_quota(api: Instance) -> None:
    owner, version = await claiming(api)
    link = await owner.share(version["reference"], max_runs=5)
    url = f"/api/v1/links/{link['token']}/claims/checks"
    client = api.client()
    answers = await asyncio.gather(*(client.post(url, json={"claim": "speed"}) for _ in range(30)))
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [429] * 25
    stored = api.database_as("runner").collection(ClaimCheckRequest)
    assert len(await stored.find({"link_id": link["id"]})) == 5


async def test_every_verdict_gets_one_receipt(api: Instance) -> None:
    owner, version = await claiming(api)
    body = {"ref": version["reference"], "claim": "accuracy"}
    told = (await owner.client.post("/api/v1/claims/checks", json=body)).json()
    problem(await owner.client.get(f"{told['url']}/receipt"), 404)
    await finish_check(api, told["id"], (0.5, 0.5))
    assert await api.services.attesting.catch_up() >= 1
    receipts = [await owner.client.get(f"{told['url']}/receipt") for _ in range(2)]
    assert [answer.status_code for answer in receipts] == [200, 200]
    assert receipts[0].content == receipts[1].content
