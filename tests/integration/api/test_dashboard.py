"""What an owner sees first, and lists of models and runs."""

from __future__ import annotations

from typing import Any

from api_instance import Account, Instance, problem
from page_visits import log_in
from vitrine_common.states import Reason, RunState


async def run_by(api: Instance, link: dict[str, Any]) -> str:
    """Have a visitor run the model; gives the run's id."""
    answer = await api.client().post(f"/api/v1/links/{link['token']}/runs", json={"inputs": {}})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def shared(api: Instance, owner: Account, **wishes: Any) -> dict[str, Any]:
    version = await api.ready(owner)
    return await owner.share(version["reference"], **wishes)


async def test_days_count_runs_but_those_by_blind_links(api: Instance) -> None:
    owner = await api.account()
    open_, blind = await shared(api, owner), await shared(api, owner, blind=True)
    await api.finish(await run_by(api, open_))
    await api.finish(await run_by(api, open_), state=RunState.FAILED, reason=Reason.USER_ERROR)
    await api.finish(await run_by(api, blind), state=RunState.FAILED, reason=Reason.USER_ERROR)
    found = (await owner.client.get("/api/v1/dashboard")).json()
    assert len(found["days"]) == 14
    assert sum(day["runs"] for day in found["days"]) == 2
    assert sum(day["failed"] for day in found["days"]) == 1
    page = await (await log_in(api, owner)).get("/")
    assert "2</span> runs" in page.text.replace("\n", "")


async def test_what_needs_a_look(api: Instance) -> None:
    owner = await api.account()
    full = await shared(api, owner, max_runs=1)
    blind = await shared(api, owner, max_runs=1, blind=True)
    soon = await shared(api, owner, expires="2d")
    await run_by(api, full)
    await run_by(api, blind)
    broken = await owner.push("broken")
    await api.services.versions.build_failed(broken["build_id"], "user_error")
    mended = await owner.push("mended")
    await api.services.versions.build_failed(mended["build_id"], "user_error")
    found = (await owner.client.get("/api/v1/dashboard")).json()["attention"]
    kinds = {(one["kind"], one["link_id"]) for one in found}
    assert ("link_used_up", full["id"]) in kinds
    assert ("link_expiring", soon["id"]) in kinds
    assert blind["id"] not in {one["link_id"] for one in found}
    assert broken["reference"] in {one["version"] for one in found if one["kind"] == "build_failed"}


async def test_runs_are_listed_by_state_and_link(api: Instance) -> None:
    owner, stranger = await api.account(), await api.account()
    link, other, blind = (
        await shared(api, owner),
        await shared(api, owner),
        await shared(api, owner, blind=True),
    )
    failed, done, waiting = [await run_by(api, link) for _ in range(3)]
    elsewhere, hidden = await run_by(api, other), await run_by(api, blind)
    for run_id in (failed, elsewhere, hidden):
        await api.finish(run_id, state=RunState.FAILED, reason=Reason.USER_ERROR)
    await api.finish(done)

    async def listed(**wanted: str) -> set[str]:
        answer = await owner.client.get("/api/v1/runs", params=wanted)
        assert answer.status_code == 200, answer.text
        return {item["id"] for item in answer.json()["items"]}

    assert await listed(state="failed") == {failed, elsewhere}
    assert await listed(state="failed", link=link["id"]) == {failed}
    assert await listed(link=link["id"]) == {failed, done, waiting}
    assert await listed(state="queued") == {waiting}
    assert await listed(link=blind["id"]) == set()
    problem(await stranger.client.get("/api/v1/runs", params={"link": link["id"]}), 404)
    page = await (await log_in(api, owner)).get("/runs", params={"link": link["id"], "state": "failed"})
    assert failed in page.text
    assert done not in page.text


async def test_models_are_found_sorted_and_paged(api: Instance) -> None:
    owner = await api.account()
    for name in ("cat-a", "dog", "cat-c", "cat-b"):
        await owner.push(name)
    await owner.push(
        "dog", spec={"name": "x", "model": {"command": "python echo.py", "input": {"type": "flag"}}}
    )

    async def names(**wanted: str) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while True:
            paged = {**wanted, "limit": "2"} | ({"after": after} if after else {})
            answer = (await owner.client.get("/api/v1/models", params=paged)).json()
            found += [item["name"] for item in answer["items"]]
            after = answer["next"]
            if after is None:
                return found

    assert await names(sort="name") == ["cat-a", "cat-b", "cat-c", "dog"]
    assert await names(sort="created") == ["cat-b", "cat-c", "dog", "cat-a"]
    assert await names(sort="updated") == ["dog", "cat-b", "cat-c", "cat-a"]
    assert await names(sort="name", q="AT-") == ["cat-a", "cat-b", "cat-c"]
    assert await names(sort="updated", q="cat-") == ["cat-b", "cat-c", "cat-a"]
    assert await names(q=".*") == []
    browser = await log_in(api, owner)
    page = (await browser.get("/models", params={"q": "dog"})).text
    assert f"{owner.name}/dog" in page
    assert f"{owner.name}/cat-a" not in page
