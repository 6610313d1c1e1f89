"""A blind link tells its holders nothing of its owner, and its owner nothing of its holders.

Planted identities stand wherever an author leaves them: account, model, paths, a project file, the bundle's
file names, what the program printed as it failed, this instance's own names. Everything that the link
reaches is then read: pages, answers of the API, headers, cookies, events, downloads, errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from api_instance import PNG, api, manifest
from blind_world import FILES, SPEC, Blind, assert_nothing_planted, blind, traceback_of
from venues_on_api import hosted
from vitrine_common.clock import utcnow
from vitrine_common.documents import ScoringRecord
from vitrine_common.ids import new_id
from vitrine_common.states import Reason, RunState

__all__ = ["api", "blind"]

RESTS = ("", "/events", "/outputs/image", "/inputs/image", "/outputs/none", "/receipt", "/verify", "/archive")


def _addresses(world: Blind) -> Iterator[tuple[str, str]]:
    """Everything that the link reaches, as (method, address)."""
    token, visitor = world.link["token"], world.visitor
    for place in (f"/api/v1/links/{token}", f"/s/{token}", f"/e/{token}/{visitor}"):
        yield "GET", place
        yield "GET", f"{place}/examples/image/0"
        yield "GET", f"{place}/examples/image/9"
        yield "POST", f"{place}/runs"
        yield "GET", f"{place}/runs"
        yield "GET", f"{place}/qr.svg"
        yield "GET", f"{place}/compare?run={world.runs['failed']}&run={world.runs['succeeded']}"
        for run_id in (world.runs["failed"], world.runs["succeeded"], new_id("run")):
            for rest in RESTS:
                yield "GET", f"{place}/runs/{run_id}{rest}"
            yield "POST", f"{place}/runs/{run_id}/cancel"
    for rest in ("claims", "claims/checks", "export"):
        yield "GET", f"/api/v1/links/{token}/{rest}"
        yield "GET", f"/s/{token}/{rest}"
    yield "GET", f"/e/{token}"


async def test_whatever_a_blind_link_reaches_tells_nothing_of_its_owner(blind: Blind) -> None:
    seen = {}
    visitor = blind.api.client(
        headers={"X-Vitrine-Visitor": blind.visitor}, cookies={"vitrine_visitor": blind.visitor}
    )
    for method, address in _addresses(blind):
        body: dict[str, Any] = {"json": {"inputs": {"image": "no file"}}} if method == "POST" else {}
        answer = await visitor.request(method, address, **body)
        assert answer.status_code < 500, address
        seen[method, address.replace(blind.link["token"], "T").replace(blind.visitor, "V")] = (
            answer.status_code
        )
        assert_nothing_planted(blind, f"{method} {address}", answer)
    failed, done = (f"/api/v1/links/T/runs/{blind.runs[name]}" for name in ("failed", "succeeded"))
    for address in ("/s/T", "/e/T/V", "/api/v1/links/T", failed, f"{done}/outputs/image", f"{failed}/events"):
        assert seen["GET", address] == 200, "the crawl must reach what it is about"


async def test_tracebacks_keep_what_helps(blind: Blind) -> None:
    client = blind.api.client(headers={"X-Vitrine-Visitor": blind.visitor})
    run = (await client.get(f"/api/v1/links/{blind.link['token']}/runs/{blind.runs['failed']}")).json()
    log = run["log_tail"]
    assert "torch/serialization.py" in log
    assert "line 3, in predict" in log
    assert "FileNotFoundError" in log
    assert log.count("file-") >= 2
    assert run["version_digest"].startswith("hmac-sha256:")


async def test_downloads_are_named_by_what_they_are(blind: Blind) -> None:
    client = blind.api.client(headers={"X-Vitrine-Visitor": blind.visitor})
    path = f"/api/v1/links/{blind.link['token']}/runs/{blind.runs['succeeded']}"
    output = await client.get(f"{path}/outputs/image")
    assert output.content == PNG
    assert "filename*=UTF-8''image.png" in output.headers["content-disposition"]
    assert output.headers["etag"].startswith('"hmac-sha256:')
    shown = (await client.get(path)).json()
    assert shown["outputs"][0]["filename"] == "image.png"
    described = (await client.get(f"/api/v1/links/{blind.link['token']}")).json()
    assert described["inputs"][1]["examples"] == ["example-1.png"]
    assert described["model"].startswith("Model ")
    page = (await client.get(f"/s/{blind.link['token']}")).text
    assert f">{described['version_digest'].removeprefix('hmac-sha256:')[:12]}<" in page


async def test_the_author_is_warned_of_what_would_tell(blind: Blind) -> None:
    warnings = blind.link["warnings"]
    for word in ("Augusta Byron", "github.com/byron/engine", "0000-0002-1825-0097"):
        assert any(word in warning and "model card" in warning for warning in warnings), word
    assert not any("babbage" in warning for warning in warnings)


async def test_the_author_is_warned_of_notes_in_an_example(blind: Blind) -> None:
    """The bytes of an example are what they are: they cannot be altered, its author can be told."""
    noted = PNG + b"tEXtAuthor\0Augusta Byron, gus@byron.example"
    files = {**FILES, "samples/lovelace-cat.png": noted}
    await blind.owner.upload(files)
    pushed = await blind.owner.client.post(
        "/api/v1/versions", json={"manifest": manifest(SPEC, files), "model": "babbage-lovelace"}
    )
    assert pushed.status_code == 201, pushed.text
    await blind.api.services.versions.build_succeeded(
        pushed.json()["build_id"], blind.version["environment_digest"]
    )
    link = await blind.owner.share(pushed.json()["reference"], blind=True)
    told = [one for one in link["warnings"] if one.startswith("the example `samples/lovelace-cat.png`")]
    assert any("Augusta Byron" in one for one in told)
    assert any("gus@byron.example" in one for one in told)
    assert not any("the example" in warning for warning in blind.link["warnings"])


async def test_two_links_have_nothing_in_common(blind: Blind) -> None:
    other = await blind.owner.share(blind.version["reference"], blind=True)
    views = [
        (await blind.api.client().get(f"/api/v1/links/{link['token']}")).json()
        for link in (blind.link, other)
    ]
    assert views[0]["version_digest"] != views[1]["version_digest"]
    assert views[0]["model"] != views[1]["model"]


async def _owners_view(blind: Blind) -> str:
    """Everything that could show its owner that somebody used the link."""
    session = await blind.api.services.sessions.open(
        await blind.api.services.repository.accounts.users.get(blind.owner.id)
    )
    browser = blind.api.client(cookies={"vitrine_session": session})
    reference = blind.version["reference"].replace("@", "/")
    owner, name, number = reference.split("/")
    pages = ["/", "/runs", "/links", f"/links/{blind.link['id']}", f"/models/{owner}/{name}"]
    pages += [f"/models/{owner}/{name}/versions/{number}{rest}" for rest in ("", "/monitor")]
    answers = ["/runs", "/links", f"/runs?version={blind.version['reference']}"]
    answers += [f"/versions/{reference}/{rest}" for rest in ("monitor", "scoring")]
    told = [await browser.get(page) for page in pages]
    told += [await blind.owner.client.get(f"/api/v1{path}") for path in answers]
    assert {answer.status_code for answer in told} == {200}
    member = await blind.api.services.tokens.member(blind.owner.token)
    assert member is not None
    entries = (await blind.api.services.audit_log.page(member, 200, None)).items
    return "\n".join(answer.text for answer in told) + "\n".join(one.model_dump_json() for one in entries)


async def _score(blind: Blind, days_ago: float, count: int) -> None:
    records = blind.api.database_as("monitor").collection(ScoringRecord)
    for number in range(count):
        await records.insert(
            ScoringRecord(
                id=new_id("run"),
                version_id=blind.version["id"],
                version_digest=blind.version["digest"],
                link_id=blind.link["id"],
                outcome=RunState.FAILED if number == 0 else RunState.SUCCEEDED,
                total_ms=100.0 + number,
                finished_at=utcnow() - timedelta(days=days_ago, seconds=number),
            )
        )


async def test_the_owner_sees_no_single_run_and_no_time_of_one(blind: Blind) -> None:
    before = await _owners_view(blind)
    for run_id in blind.runs.values():
        assert run_id not in before
        for path in ("", "/events", "/outputs/image", "/inputs/image"):
            assert (await blind.owner.client.get(f"/api/v1/runs/{run_id}{path}")).status_code == 404
        assert (await blind.owner.client.post(f"/api/v1/runs/{run_id}/cancel")).status_code == 404
    assert blind.visitor not in before
    shown = await _shown(blind)
    assert (shown["runs_used"], shown["opened"], shown["use"], shown["state"]) == (0, None, [], "active")
    stored = await blind.api.services.repository.links.links.get(blind.link["id"])
    assert stored.runs_used >= 2, "the quota counts, out of the owner's sight"
    quotas = {quota.name: quota.used for quota in await blind.api.services.quotas.of(blind.owner.id)}
    assert quotas["max_runs_per_day"] == 0, "a counter that moves tells when there was a run"


async def test_an_author_who_holds_the_address_cannot_watch_runs_go_by(blind: Blind) -> None:
    """The number of runs left would tell when a reviewer was there; that none is left cannot be hidden."""
    link = await blind.owner.share(blind.version["reference"], blind=True, max_runs=2)
    author, reviewer = blind.api.client(), blind.api.client()

    async def seen() -> tuple[Any, ...]:
        described = (await author.get(f"/api/v1/links/{link['token']}")).json()
        page = (await author.get(f"/s/{link['token']}")).text
        opening = (await blind.owner.client.get(f"/api/v1/links/{link['id']}/opening")).text
        return described, "runs-left" in page, opening

    before = await seen()
    assert (before[0]["runs_left"], before[1]) == (None, False)
    for left in (1, 0):
        run = await reviewer.post(f"/api/v1/links/{link['token']}/runs", json={})
        await blind.api.finish(run.json()["id"])
        after = await seen()
        if left:
            assert after == before
    assert (after[0]["state"], after[0]["runs_left"]) == ("used_up", 0)


async def test_when_a_rate_allows_more_is_told_in_full_windows(blind: Blind) -> None:
    """The exact time until then would be that of a reviewer's run."""
    link = await blind.owner.share(blind.version["reference"], blind=True, rate="1/h")
    path = f"/api/v1/links/{link['token']}/runs"
    assert (await blind.api.client().post(path, json={})).status_code == 202
    links = blind.api.services.repository.links.links
    stored = await links.get(link["id"])
    await links.update({"_id": link["id"]}, {"rate_times": [time - 1_800_000 for time in stored.rate_times]})
    refused = await blind.api.client().post(path, json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3600")


async def test_a_limit_cannot_be_lowered_to_find_the_number_of_runs(blind: Blind) -> None:
    limited = await blind.owner.share(blind.version["reference"], blind=True, max_runs=5)
    unlimited = await blind.owner.share(blind.version["reference"], blind=True)
    for link, wanted, status in (
        *((limited, 4, 422), (limited, 5, 200), (limited, 6, 200), (limited, None, 200)),
        (unlimited, 1000, 422),
    ):
        path = f"/api/v1/links/{link['id']}"
        answer = await blind.owner.client.patch(path, json={"max_runs": wanted})
        assert answer.status_code == status, answer.text
    assert (await blind.owner.client.post(f"/api/v1/links/{limited['id']}/unblind")).status_code == 200
    answer = await blind.owner.client.patch(f"/api/v1/links/{limited['id']}", json={"max_runs": 1})
    assert "max_runs" in answer.json()["detail"], "what was promised outlives un-blinding"


async def test_use_is_told_by_days_that_are_over_and_in_groups(blind: Blind) -> None:
    await _score(blind, 0, 7)
    assert (await _shown(blind))["use"] == [], "today is not over"
    await _score(blind, 3, 4)
    assert (await _shown(blind))["use"] == [], "four are too few"
    await _score(blind, 2, 2)
    (bucket,) = (await _shown(blind))["use"]
    assert (bucket["runs"], bucket["failed"]) == (6, 2)
    assert bucket["from"].endswith("T00:00:00Z")
    reference = blind.version["reference"].replace("@", "/")
    monitor = (await blind.owner.client.get(f"/api/v1/versions/{reference}/monitor")).json()
    scoring = (await blind.owner.client.get(f"/api/v1/versions/{reference}/scoring")).json()
    assert (monitor["window"]["runs"], scoring["items"]) == (0, [])


async def test_un_blinding_shows_the_owner_from_then_on_and_keeps_reviewers_hidden(blind: Blind) -> None:
    link = await blind.owner.share(blind.version["reference"], blind=True)
    run = await blind.api.client().post(f"/api/v1/links/{link['token']}/runs", json={})
    assert (await blind.owner.client.post(f"/api/v1/links/{link['id']}/unblind")).status_code == 200
    seen = (await blind.api.client().get(f"/api/v1/links/{link['token']}")).json()
    assert (seen["model"], seen["version_digest"]) == ("babbage-lovelace", blind.version["digest"])
    assert (await blind.owner.client.get(f"/api/v1/runs/{run.json()['id']}")).status_code == 404
    assert (await blind.owner.client.post(f"/api/v1/links/{link['id']}/unblind")).status_code == 409
    listed = (await blind.owner.client.get("/api/v1/links")).json()["items"]
    assert next(one for one in listed if one["id"] == link["id"])["opened"] is None


async def _shown(blind: Blind) -> dict[str, Any]:
    listed = (await blind.owner.client.get("/api/v1/links")).json()["items"]
    found: dict[str, Any] = next(one for one in listed if one["id"] == blind.link["id"])
    assert json.dumps(found).count("last_run_at") == 0
    return found


async def test_a_reviewers_page_tells_nothing_of_the_author(blind: Blind) -> None:
    """A blind venue: its reviewer's page, what it leads to, and the address for authors before a login."""
    venue = await hosted(blind.api)
    submission = await venue.submit(blind.owner, blind.version["reference"], "P-1", title="On cats")
    assert any("Augusta Byron" in warning for warning in submission["warnings"])
    (reviewer,) = await venue.reviewers("Eva Wong <eva@far.example>")
    review = await venue.assign(submission, reviewer)
    page = blind.api.client()
    shown = await page.get(reviewer["url"])
    (token,) = set(re.findall(r'href="/s/([A-Za-z0-9_-]+)"', shown.text))
    started = await page.post(
        f"/api/v1/links/{token}/runs", json={"inputs": {"image": {"example": "example-1.png"}}}
    )
    assert started.status_code == 202, started.text
    run_id, visitor = started.json()["id"], started.json()["visitor"]
    log = traceback_of(blind)
    failure: dict[str, Any] = {"reason": Reason.USER_ERROR, "message": log[-300:], "log_tail": log}
    await blind.api.finish(run_id, state=RunState.FAILED, **failure)
    holder = blind.api.client(headers={"X-Vitrine-Visitor": visitor}, cookies={"vitrine_visitor": visitor})
    addresses = [f"{place}/{token}" for place in ("/s", "/api/v1/links")]
    addresses += [
        f"{place}/runs/{run_id}{rest}" for place in addresses for rest in ("", "/events", "/receipt")
    ]
    told = [shown, started, *[await holder.get(address) for address in addresses]]
    told.append(await page.post(f"{reviewer['url']}/reviews/{review}", data={"overall": "nonsense"}))
    told.append(await page.get(f"{reviewer['url']}/reviews/{review}"))
    told.append(await page.get(venue.venue["submit_url"]))
    assert [answer.status_code for answer in told[:4]] == [200, 202, 200, 200]
    for answer in told:
        assert answer.status_code < 500
        assert_nothing_planted(blind, str(answer.request.url), answer)
    owners = await _owners_view(blind)
    for word in ("Eva Wong", "eva@far", reviewer["id"], review, run_id, token):
        assert word not in owners, "authors learn nothing of reviewers"
