"""What accounts are told, and by e-mail at most one of a kind in an hour."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api_instance import Account, Instance, problem
from vitrine_api.mail import FolderMailer
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.notifications import Mailing
from vitrine_api.notifications.news import News
from vitrine_common.clock import utcnow
from vitrine_common.documents import ClaimCheck, ClaimCheckRequest, Notification, ShareLink
from vitrine_common.ids import new_id
from vitrine_common.messages import ClaimChecked, RunFinished, VersionBuildFailed
from vitrine_common.states import ClaimState, Reason, RunState


async def told(api: Instance, account: Account) -> list[Notification]:
    return await api.services.notices.repository.notifications.find({"user_id": account.id})


async def until(found: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while not (value := await found()):
            await asyncio.sleep(0.02)
    return value


async def run_by(api: Instance, account: Account, version: dict[str, Any], **fields: Any) -> RunFinished:
    """A run of the account itself that has ended."""
    path = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/runs"
    run_id = (await account.client.post(path, json={"inputs": {}})).json()["id"]
    run = await api.finish(run_id, **fields)
    return RunFinished(run_id=run_id, version_id=version["id"], state=run.state, reason=run.reason)


async def run_by_link(api: Instance, link: dict[str, Any]) -> RunFinished:
    """A run of somebody who holds a link."""
    started = await api.client().post(f"/api/v1/links/{link['token']}/runs", json={"inputs": {}})
    assert started.status_code in {200, 202}, started.text
    run = await api.finish(started.json()["id"])
    return RunFinished(run_id=run.id, version_id=run.version_id, state=run.state)


async def test_facts_of_the_bus_are_told_once(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    (news,) = await until(lambda: told(api, account))
    assert (news.kind, news.title) == ("version.ready", f"{version['reference']} can be run")
    fact = VersionBuildFailed(version_id=version["id"])
    for _ in range(3):
        await api.platform.bus.send(fact)

    async def both() -> bool:
        return len(await told(api, account)) == 2

    await until(both)
    shown = (await account.client.get("/api/v1/notifications")).json()["items"]
    assert [item["kind"] for item in shown] == ["version.build_failed", "version.ready"]
    assert [item["unread"] for item in shown] == [True, True]
    page = await api.client(cookies=await cookies(api, account)).get(shown[1]["path"])
    assert page.status_code == 200
    assert version["model"] in page.text


async def cookies(api: Instance, account: Account) -> dict[str, str]:
    """A web login of the account."""
    user = await api.services.registry.authenticate(account.email, account.password)
    return {"vitrine_session": await api.services.sessions.open(user)}


async def test_one_hears_of_ones_own_runs_only_where_the_platform_failed(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    facts = api.services.facts
    await facts.run_finished(await run_by(api, account, version))
    failed = RunState.FAILED
    await facts.run_finished(await run_by(api, account, version, state=failed, reason=Reason.USER_ERROR))
    broken = await run_by(api, account, version, state=failed, reason=Reason.PLATFORM_ERROR)
    await facts.run_finished(broken)
    await facts.run_finished(broken)
    kinds = [news.kind for news in await told(api, account) if not news.kind.startswith("version.")]
    assert kinds == ["run.failed_by_platform"]


async def test_a_links_first_run_and_its_last_ones_are_told(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(version["reference"], max_runs=5, label="Paper 7")
    titles: list[list[str]] = []
    for _ in range(5):
        await api.services.facts.run_finished(await run_by_link(api, link))
        news = [item for item in await told(api, account) if item.kind.startswith("link.")]
        titles.append(sorted(item.title for item in news))
    first, near, all_used = (
        "The link “Paper 7” was used for the first time",
        "The runs of the link “Paper 7” are almost used up (4 of 5)",
        "The runs of the link “Paper 7” are used up",
    )
    assert titles == [[first], [first], [first], sorted([first, near]), sorted([first, near, all_used])]


async def test_of_a_blind_links_single_runs_and_checks_nobody_is_told(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(version["reference"], max_runs=1, blind=True)
    await api.services.facts.run_finished(await run_by_link(api, link))
    stored = await api.platform.database.collection(ShareLink).get(link["id"])
    await check(api, version, account, blind=True, link_id=stored.id)
    await api.services.watching.look(utcnow())
    assert [news.kind for news in await told(api, account)] in ([], ["version.ready"])


async def check(
    api: Instance, version: dict[str, Any], account: Account, finished: timedelta = timedelta(), **fields: Any
) -> None:
    """A check of a claim that has ended, and its fact."""
    check_id = new_id("check")
    common: dict[str, Any] = {
        "id": check_id,
        "version_id": version["id"],
        "claim_name": "accuracy",
        "expires_at": utcnow(),
        **fields,
    }
    request = ClaimCheckRequest(
        **common,
        version_digest=version["digest"],
        environment_digest="sha256:" + "0" * 64,
        owner_id=account.id,
        claim="{}",
    )
    await api.platform.database.collection(ClaimCheckRequest).insert(request)
    made = ClaimCheck(
        **common,
        state=ClaimState.REPRODUCED,
        expected=0.98,
        measured=0.97,
        finished_at=utcnow() - finished,
        tally=("blind/" if fields.get("blind") else "") + "accuracy:reproduced",
    )
    await api.database_as("runner").collection(ClaimCheck).insert(made)
    fact = ClaimChecked(
        check_id=check_id, version_id=version["id"], claim="accuracy", state=ClaimState.REPRODUCED
    )
    await api.services.facts.claim_checked(fact)


async def test_verdicts_are_told_and_blind_ones_by_the_day_and_the_group(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    await check(api, version, account)
    (news,) = [item for item in await told(api, account) if item.kind == "claim.checked"]
    assert news.title == f"The claim “accuracy” of {version['reference']} was reproduced"
    assert news.text == "Claimed: 0.98; measured: 0.97."
    now = utcnow()
    yesterday = now - now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=3)
    for count in range(1, 6):
        await check(api, version, account, yesterday, blind=True)
        await api.services.watching.look(now)
        await api.services.watching.look(now)
        blind = [item for item in await told(api, account) if "blind" in item.title]
        assert len(blind) == (count == 5)


async def test_links_that_end_soon(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(version["reference"], expires="14d", label="Review")
    await account.share(version["reference"], expires="1d")
    look, now = api.services.watching.look, utcnow()
    await look(now + timedelta(days=11))
    assert not [item for item in await told(api, account) if item.kind == "link.expiring"]
    await look(now + timedelta(days=12, hours=1))
    await look(now + timedelta(days=12, hours=2))
    (news,) = [item for item in await told(api, account) if item.kind == "link.expiring"]
    assert news.title.startswith("The link “Review” ends on ")
    await account.client.delete(f"/api/v1/links/{link['id']}")
    await look(now + timedelta(days=13))
    assert len([item for item in await told(api, account) if item.kind == "link.expiring"]) == 1


@pytest.fixture
async def mailing(api: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Mailing, Path]:
    """A writer of mails into a folder, while the instance's own rests."""

    async def nothing() -> int:
        return 0

    monkeypatch.setattr(api.services.mailing, "write_due", nothing)
    monkeypatch.setattr(api.services.mail, "send_due", nothing)
    outbox = MailOutbox(api.services.repository.mails, FolderMailer(tmp_path), "v@example.org", "api@test:1")
    return Mailing(api.services.notices.repository, outbox, api.url), tmp_path


async def mails(mailing: tuple[Mailing, Path], to: str) -> list[str]:
    await mailing[0].write_due()
    await mailing[0]._outbox.send_due()
    found = [mail.text for mail in FolderMailer(mailing[1]).newest(200)]
    return [text for text in found if f"To: {to}" in text]


def failure(account: Account, number: int) -> News:
    return News(
        user_id=account.id,
        kind="version.build_failed",
        key=f"v{number}",
        title=f"Number {number} failed",
        path=f"/x/{number}",
    )


async def test_one_mail_of_a_kind_and_hour(api: Instance, mailing: tuple[Mailing, Path]) -> None:
    account = await api.account()
    notices = api.services.notices
    await notices.tell(failure(account, 1))
    await notices.tell(failure(account, 1))
    (mail,) = await mails(mailing, account.email)
    assert "Subject: Number 1 failed" in mail
    assert f"{api.url}/x/1" in mail
    for number in range(2, 32):
        await notices.tell(failure(account, number))
    assert len(await mails(mailing, account.email)) == 1
    # Another kind has its own hour.
    await notices.tell(News(user_id=account.id, kind="quota.near", key="storage", title="Storage"))
    assert len(await mails(mailing, account.email)) == 2
    # An hour later the thirty come together, once, however many processes write.
    wishes = await notices.repository.wishes(account.id)
    past = round((utcnow() - timedelta(hours=1)).timestamp() * 1000)
    await notices.repository.take_mail_turn(wishes, "version_build_failed", past)
    for item in await told(api, account):
        await notices.repository.notifications.update({"_id": item.id}, {"mail_due_at": utcnow()})
    await asyncio.gather(*(mailing[0].write_due() for _ in range(4)))
    newest = (await mails(mailing, account.email))[0]
    assert len(await mails(mailing, account.email)) == 3
    assert re.search(r"Subject: Number \d+ failed, and 29 more", newest)
    assert "And 10 more" in newest


async def test_mails_of_a_kind_end_by_the_mail_itself(api: Instance, mailing: tuple[Mailing, Path]) -> None:
    account = await api.account()
    await api.services.notices.tell(failure(account, 1))
    (mail,) = await mails(mailing, account.email)
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in mail
    address = re.search(r"List-Unsubscribe:\s+<([^>]+)>", mail)
    assert address is not None
    path = address[1].removeprefix(api.url)
    assert path in mail.split("\n\n", 1)[1].replace("=\n", "")
    stranger = api.client()
    # Programs that look at the links of a mail change nothing.
    assert (await stranger.get(path)).status_code == 200
    wishes = (await account.client.get("/api/v1/notifications/mail")).json()["mail"]
    assert wishes["version.build_failed"]
    done = await stranger.post(path, data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200
    assert "No more of these mails" in done.text
    assert (await stranger.post(path[:-1] + "0123"[path[-1] == "0"])).status_code == 404
    assert (await stranger.post(f"/unsubscribe/{account.id}.version_build_failed.")).status_code == 404
    await api.services.notices.tell(failure(account, 2))
    assert len(await mails(mailing, account.email)) == 1
    assert len([item for item in await told(api, account) if item.unread]) == 2


async def test_wishes_and_reading_by_the_interface(api: Instance) -> None:
    account, other = await api.account(), await api.account()
    for number in range(3):
        await api.services.notices.tell(failure(account, number))
    listed = (await account.client.get("/api/v1/notifications", params={"limit": 2})).json()
    assert len(listed["items"]) == 2
    older = await account.client.get("/api/v1/notifications", params={"after": listed["next"]})
    assert len(older.json()["items"]) == 1
    one = listed["items"][0]["id"]
    problem(await other.client.post(f"/api/v1/notifications/{one}/read"), 404)
    assert (await account.client.post(f"/api/v1/notifications/{one}/read")).status_code == 204
    browser = api.client(cookies=await cookies(api, account))
    page = (await browser.get("/notifications")).text
    assert page.count('class="unread"') == 2
    assert '<span class="count">2<' in page
    seen = await browser.get(f"/notifications/{listed['items'][1]['id']}")
    assert (seen.status_code, seen.headers["location"]) == (303, listed["items"][1]["path"])
    assert (await account.client.post("/api/v1/notifications/read")).status_code == 204
    assert 'class="count"' not in (await browser.get("/notifications")).text
    wish = {"kinds": ["version.ready", "claim.checked"]}
    chosen = (await account.client.put("/api/v1/notifications/mail", json=wish)).json()["mail"]
    assert sorted(kind for kind, wanted in chosen.items() if wanted) == sorted(wish["kinds"])
    wrong = await account.client.put("/api/v1/notifications/mail", json={"kinds": ["run.finished"]})
    assert "run.finished" in problem(wrong, 422)["detail"]


async def test_what_was_told_is_deleted_after_a_while(api: Instance) -> None:
    account = await api.account()
    await api.services.notices.tell(failure(account, 1))
    await api.services.notices.repository.sweep(utcnow() - timedelta(minutes=1))
    assert len(await told(api, account)) == 1
    await api.services.notices.repository.sweep(utcnow() + timedelta(seconds=1))
    assert await told(api, account) == []
