"""An address of one run: told signed and once, of what was wished, and then forgotten."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from api_instance import Account, Instance, api, problem
from hook_desk import HookDesk, Received, hook_desk
from vitrine_api import run_hook_following
from vitrine_api.run_hooks import KEPT
from vitrine_api.runs import RunRecord
from vitrine_api.webhooks import Delivering, WebhookRepository
from vitrine_common.clock import utcnow
from vitrine_common.documents import Output, RunHook, Timings, WebhookDelivery
from vitrine_common.errors import Unavailable
from vitrine_common.messages import RunFinished, RunProgress, StreamedText
from vitrine_common.states import DeliveryState, Reason, RunState

__all__ = ["api"]


@pytest.fixture
async def ann(api: Instance) -> Account:
    return await api.account()


@pytest.fixture
async def echo(api: Instance, ann: Account) -> dict[str, Any]:
    return await api.ready(ann, name="echo")


@pytest.fixture
async def desk(api: Instance, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HookDesk]:
    """A receiver on this machine, which the instance may send to meanwhile."""
    monkeypatch.setattr(api.services.run_hooks, "_allow_private", True)
    monkeypatch.setattr(api.services.delivering, "_allow_private", True)
    async with hook_desk() as receiver:
        yield receiver


def path(ann: Account) -> str:
    return f"/v1/models/{ann.name}/echo/runs"


async def begun(ann: Account, desk: HookDesk, *events: str, **headers: str) -> dict[str, Any]:
    body = {"inputs": {}, "webhook": desk.url} | ({"webhook_events": events} if events else {})
    answer = await ann.client.post(path(ann), json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def ended(api: Instance, made: dict[str, Any], **fields: Any) -> RunFinished:
    """Write a run's end down and tell of it, as a runner does."""
    run = await api.finish(made["id"], **fields)
    fact = RunFinished(run_id=run.id, version_id=run.version_id, state=run.state, reason=run.reason)
    await api.platform.bus.send(fact)
    return fact


async def received(desk: HookDesk, count: int) -> list[Received]:
    async with asyncio.timeout(30):
        while len(desk.taken) < count:
            await asyncio.sleep(0.02)
    return desk.taken


def kinds(desk: HookDesk) -> list[str]:
    return sorted(json.loads(request.body)["type"] for request in desk.taken)


def is_signed(request: Received, secret: str) -> bool:
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.{request.body}"
    key = b64decode(secret.removeprefix("whsec_"))
    return hmac.compare_digest(
        b64decode(request.headers["webhook-signature"].removeprefix("v1,")),
        hmac.digest(key, signed.encode(), hashlib.sha256),
    )


async def test_the_end_is_told_signed_and_once(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    made = await begun(ann, desk)
    fact = await ended(api, made, outputs=[Output(name="text", type="text", value='"hällo"')])
    (request,) = await received(desk, 1)
    # The bus may deliver a fact again, whenever it likes.
    await asyncio.gather(*(api.services.facts.run_finished(fact) for _ in range(3)))
    shown = (await ann.client.get(f"/api/v1/runs/{made['id']}/webhook")).json()
    assert [item["kind"] for item in shown["deliveries"]] == ["run.finished"]
    assert is_signed(request, made["webhook_secret"])
    assert not is_signed(request, (await begun(ann, desk))["webhook_secret"])
    told = json.loads(request.body)
    assert told["type"] == "run.finished"
    assert (told["data"]["run_id"], told["data"]["state"]) == (made["id"], "succeeded")
    assert told["data"]["outputs"] == [{"name": "text", "type": "text", "value": "hällo"}]
    assert len(desk.taken) == 1


async def test_a_failed_run_is_told_with_its_reason_and_files_with_their_address(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    await ended(
        api,
        await begun(ann, desk),
        state=RunState.FAILED,
        reason=Reason.USER_ERROR,
        message="ValueError: no",
    )
    made = await begun(ann, desk)
    await ended(api, made, outputs=[Output(name="image", type="image", digest="sha256:" + "0" * 64, size=3)])
    bodies = [json.loads(request.body)["data"] for request in await received(desk, 2)]
    failed, worked = sorted(bodies, key=lambda data: data["state"])
    assert (failed["reason"], failed["message"]) == ("user_error", "ValueError: no")
    assert worked["outputs"][0]["url"] == f"{api.url}/api/v1/runs/{made['id']}/outputs/image"


async def test_large_outputs_are_left_to_be_fetched(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    await ended(
        api,
        await begun(ann, desk),
        outputs=[Output(name="text", type="text", value=json.dumps("x" * 300_000))],
    )
    (request,) = await received(desk, 1)
    data = json.loads(request.body)["data"]
    assert (data["outputs"], data["outputs_left_out"]) == ([], True)


async def test_beginning_and_streamed_pieces_are_told_while_it_runs(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    made = await begun(ann, desk, "started", "output", "finished")
    pieces = [StreamedText(name="text", start=0, text="a"), StreamedText(name="text", start=1, text="b")]
    await api.platform.bus.tell(RunProgress(run_id=made["id"], state=RunState.RUNNING, outputs=pieces))
    await received(desk, 2)
    assert kinds(desk) == ["run.output", "run.started"]
    (told,) = (json.loads(one.body)["data"] for one in desk.taken if "run.output" in one.body)
    assert told["outputs"] == [piece.model_dump() for piece in pieces]
    await ended(api, made)
    await received(desk, 3)
    assert kinds(desk) == ["run.finished", "run.output", "run.started"]
    assert all(is_signed(request, made["webhook_secret"]) for request in desk.taken)


async def test_pieces_that_come_steadily_are_told_before_the_end(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    made = await begun(ann, desk, "output")
    sent = 0
    async with asyncio.timeout(30):
        while not desk.taken:
            piece = StreamedText(name="text", start=sent, text="x")
            await api.platform.bus.tell(
                RunProgress(run_id=made["id"], state=RunState.RUNNING, outputs=[piece])
            )
            sent += 1
            await asyncio.sleep(0.05)
    assert kinds(desk) == ["run.output"]
    await ended(api, made)
    async with asyncio.timeout(30):  # what was left is told with the end, and nothing twice
        while sum(len(pieces) for pieces in told_pieces(desk)) < sent:
            await asyncio.sleep(0.02)
    starts = sorted(piece["start"] for pieces in told_pieces(desk) for piece in pieces)
    assert starts == list(range(sent))


async def test_an_attempt_that_streams_from_the_beginning_again_is_told(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    made = await begun(ann, desk, "output")
    for count, text in enumerate(("first", "second"), 1):
        piece = StreamedText(name="text", start=0, text=text)
        await api.platform.bus.tell(RunProgress(run_id=made["id"], state=RunState.RUNNING, outputs=[piece]))
        await received(desk, count)
    assert [piece["text"] for pieces in told_pieces(desk) for piece in pieces] == ["first", "second"]


async def test_what_could_not_be_written_down_is_told_later(
    api: Instance,
    ann: Account,
    echo: dict[str, Any],
    desk: HookDesk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_hook_following, "AGAIN_SECONDS", 0.05)
    queue = api.services.delivering.queue_of_run
    refused: list[str] = []

    async def away_at_first(hook: RunHook, kind: str, body: str, delivery_id: str) -> None:
        if refused.count(kind) < 2:
            refused.append(kind)
            raise Unavailable("the database does not answer")
        await queue(hook, kind, body, delivery_id)

    monkeypatch.setattr(api.services.delivering, "queue_of_run", away_at_first)
    made = await begun(ann, desk, "started", "output")
    piece = StreamedText(name="text", start=0, text="kept")
    await api.platform.bus.tell(RunProgress(run_id=made["id"], state=RunState.RUNNING, outputs=[piece]))
    await received(desk, 2)
    assert kinds(desk) == ["run.output", "run.started"]
    assert told_pieces(desk) == [[piece.model_dump()]]
    assert refused == ["run.started"] * 2 + ["run.output"] * 2


@pytest.mark.parametrize("is_heard", [True, False])
async def test_a_run_that_computes_before_its_request_is_answered_is_told_as_begun(
    api: Instance,
    ann: Account,
    echo: dict[str, Any],
    desk: HookDesk,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_heard: bool,
) -> None:
    start = api.services.runs.start

    async def quick(*wanted: Any, **more: Any) -> RunRecord:
        record = await start(*wanted, **more)
        run_id = record.request.id
        if is_heard:
            with api.services.hub.listen(run_id) as queue:
                await api.platform.bus.tell(RunProgress(run_id=run_id, state=RunState.RUNNING))
                await queue.get()
        else:
            await api.finish(run_id, state=RunState.RUNNING, finished_at=None)
        return record

    monkeypatch.setattr(api.services.runs, "start", quick)
    await begun(ann, desk, "started")
    await received(desk, 1)
    assert kinds(desk) == ["run.started"]


def told_pieces(desk: HookDesk) -> list[list[dict[str, Any]]]:
    bodies = [json.loads(request.body) for request in desk.taken]
    return [body["data"]["outputs"] for body in bodies if body["type"] == "run.output"]


@pytest.mark.parametrize(
    ("timings", "expected"),
    [(Timings(), ["run.finished"]), (Timings(start_ms=1.0), ["run.finished", "run.started"])],
)
async def test_only_what_computed_is_told_as_begun(  # noqa: PLR0917 - fixtures
    api: Instance,
    ann: Account,
    echo: dict[str, Any],
    desk: HookDesk,
    timings: Timings,
    expected: list[str],
) -> None:
    made = await begun(ann, desk, "started", "finished")
    run = await api.finish(made["id"], state=RunState.FAILED, reason=Reason.PLATFORM_ERROR, timings=timings)
    assert run.started_at is not None, "a runner took it"
    await api.services.run_hooks.finished(run, echo["reference"])
    await received(desk, len(expected))
    shown = (await ann.client.get(f"/api/v1/runs/{made['id']}/webhook")).json()
    assert sorted(item["kind"] for item in shown["deliveries"]) == expected


async def test_a_beginning_that_nobody_noticed_is_told_with_the_end(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    made = await begun(ann, desk, "finished", "started")
    await api.services.run_hooks.close()  # as if the process that took the request had been killed
    await ended(api, made)
    await received(desk, 2)
    assert kinds(desk) == ["run.finished", "run.started"]


async def test_what_is_not_wished_is_not_told(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    made = await begun(ann, desk, "started")
    fact = await ended(api, made)
    await api.services.facts.run_finished(fact)
    shown = (await ann.client.get(f"/api/v1/runs/{made['id']}/webhook")).json()
    assert [item["kind"] for item in shown["deliveries"]] == ["run.started"]


async def test_a_refused_message_is_sent_again_and_410_ends_them(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    desk.answers = ["503 Later", "410 Gone"]
    made = await begun(ann, desk)
    await ended(api, made)
    await received(desk, 1)
    repository = WebhookRepository(api.platform.database)
    hook = await repository.run_hooks.get(made["id"])
    (waiting,) = await _settled(repository, hook, DeliveryState.WAITING)
    assert "503" in waiting.problem
    await repository.deliveries.update({"_id": waiting.id}, {"due_at": utcnow()})
    api.services.delivering._news.set()
    await received(desk, 2)
    await _settled(repository, hook, DeliveryState.FAILED)
    assert desk.taken[0].body == desk.taken[1].body
    async with asyncio.timeout(20):
        while (await repository.run_hooks.get(made["id"])).active:
            await asyncio.sleep(0.02)


async def _settled(
    repository: WebhookRepository, hook: RunHook, state: DeliveryState
) -> list[WebhookDelivery]:
    async with asyncio.timeout(20):
        while True:
            found = await repository.of_run(hook, 9)
            if found and all(one.state is state and one.tries for one in found):
                return found
            await asyncio.sleep(0.02)


async def test_runs_of_one_account_hold_up_nobody_elses_messages(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    desk.held = asyncio.Event()
    for made in [await begun(ann, desk) for _ in range(9)]:
        await ended(api, made)
    await received(desk, 4)
    bob = await api.account()
    await api.ready(bob, name="echo")
    async with hook_desk() as quick:
        await ended(api, await begun(bob, quick))
        await received(quick, 1)
    assert len(desk.taken) == 4
    desk.held.set()
    await received(desk, 9)


async def test_it_stands_in_no_list_and_is_forgotten_after_the_end(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    for _ in range(20):
        await ann.client.post("/api/v1/webhooks", json={"url": "http://1.1.1.1/"})
    made = await begun(ann, desk)  # however many webhooks there are
    assert made["id"] not in (await ann.client.get("/api/v1/webhooks")).text
    problem(await ann.client.get(f"/api/v1/webhooks/{made['id']}"), 404)
    problem(await (await api.account()).client.get(f"/api/v1/runs/{made['id']}/webhook"), 404)
    await ended(api, made)
    await received(desk, 1)
    repository = WebhookRepository(api.platform.database)
    async with asyncio.timeout(20):
        while (await repository.run_hooks.get(made["id"])).ends_at > utcnow() + KEPT:
            await asyncio.sleep(0.02)
    await api.services.delivering.sweep()
    hook = await repository.run_hooks.get(made["id"])
    await repository.end_run_hook(hook, utcnow() - timedelta(seconds=1))
    await api.services.delivering.sweep()
    assert await repository.run_hooks.find({"_id": hook.id}) == []
    assert await repository.of_run(hook, 9) == []


async def test_equal_requests_have_one_hook_and_get_its_secret(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = await begun(ann, desk, **key), await begun(ann, desk, **key)
    assert (first["id"], first["webhook_secret"]) == (second["id"], second["webhook_secret"])
    other = await ann.client.post(path(ann), json={"inputs": {}}, headers=key)
    assert "another request" in problem(other, 422)["detail"]


async def test_the_secret_is_told_in_every_form_of_the_answer_and_never_again(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    form = {"webhook": desk.url, "webhook_events": ["started", "finished"], "input.text": "hi"}
    answer = await ann.client.post(f"/api/v1/versions/{echo['id']}/runs", data=form)
    if answer.status_code == 404:  # addressed by its reference
        owner, _, rest = echo["reference"].partition("/")
        name, _, number = rest.partition("@")
        answer = await ann.client.post(f"/api/v1/versions/{owner}/{name}/{number}/runs", data=form)
    assert answer.json()["webhook_secret"].startswith("whsec_")
    assert (await ann.client.get(answer.json()["url"])).json()["webhook_secret"] is None
    body = {"webhook": desk.url}
    async with ann.client.stream(
        "POST", path(ann), json=body, headers={"Accept": "text/event-stream"}
    ) as stream:
        assert stream.headers["X-Vitrine-Webhook-Secret"].startswith("whsec_")


async def test_a_token_that_may_only_run_gets_the_secret_and_sees_what_was_sent(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    runner = await _with_scopes(api, ann, "run")
    for address in (path(ann), f"/api/v1/versions/{echo['reference'].replace('@', '/')}/runs"):
        answer = await runner.post(address, json={"inputs": {}, "webhook": desk.url})
        assert answer.status_code == 202, answer.text
        assert answer.json()["webhook_secret"].startswith("whsec_")
        shown = await runner.get(f"/api/v1/runs/{answer.json()['id']}/webhook")
        assert (shown.status_code, shown.json()["url"]) == (200, desk.url)


async def test_a_token_that_may_not_run_writes_nothing_down(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    reader = await _with_scopes(api, ann, "read", "write")
    problem(await reader.post(path(ann), json={"inputs": {}, "webhook": desk.url}), 403)
    hooks = WebhookRepository(api.platform.database).run_hooks
    assert await hooks.find({"user_id": ann.id}) == []


async def _with_scopes(api: Instance, account: Account, *scopes: str) -> httpx.AsyncClient:
    made = await account.client.post("/api/v1/tokens", json={"label": "narrow", "scopes": scopes})
    assert made.status_code == 201, made.text
    return api.client(headers={"Authorization": f"Bearer {made.json()['token']}"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"webhook": "http://127.0.0.1:1/"}, "private network"),
        ({"webhook": "http://169.254.169.254/latest"}, "private network"),
        ({"webhook": "http://[::ffff:10.0.0.1]/"}, "private network"),
        ({"webhook": "gopher://1.1.1.1/"}, "https://example.org/hook"),
        ({"webhook": "http://no-such-name.invalid/"}, "does not resolve"),
        ({"webhook": 3}, "write an address"),
        ({"webhook_events": ["finished"]}, "as `webhook`"),
        ({"webhook": "http://1.1.1.1/", "webhook_events": []}, "started, output, finished"),
        ({"webhook": "http://1.1.1.1/", "webhook_events": ["logs"]}, "started, output, finished"),
    ],
)
async def test_wrong_wishes_are_refused_by_name_and_nothing_is_run(
    api: Instance, ann: Account, echo: dict[str, Any], body: dict[str, Any], said: str
) -> None:
    told = problem(await ann.client.post(path(ann), json=body), 422)
    assert said in told["detail"]
    assert "webhook" in told["detail"]
    assert (await ann.client.get("/api/v1/runs")).json()["items"] == []
    hooks = WebhookRepository(api.platform.database).run_hooks
    assert await hooks.find({"user_id": ann.id}) == []


async def test_a_run_that_is_refused_leaves_no_hook(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    body = {"inputs": {"count": 99}, "webhook": desk.url}
    problem(await ann.client.post(path(ann), json=body), 422)
    hooks = WebhookRepository(api.platform.database).run_hooks
    assert await hooks.find({"user_id": ann.id}) == []


@pytest.mark.parametrize("blind", [True, False])
async def test_runs_by_links_have_none(
    api: Instance, ann: Account, echo: dict[str, Any], *, blind: bool
) -> None:
    link = await ann.share(echo["reference"], blind=blind)
    holder = api.client()
    for place in (f"/s/{link['token']}/v1/runs", f"/api/v1/links/{link['token']}/runs"):
        for sent in ({"json": {"webhook": "http://1.1.1.1/"}}, {"data": {"webhook": "http://1.1.1.1/"}}):
            told = problem(await holder.post(place, **sent), 422)  # type: ignore[arg-type]
            assert "a run by a link has no webhook" in told["detail"]
            assert ann.name not in json.dumps(told)


async def test_an_address_that_turns_private_is_not_sent_to(
    api: Instance, ann: Account, echo: dict[str, Any], desk: HookDesk
) -> None:
    made = await begun(ann, desk)
    repository = WebhookRepository(api.platform.database)
    hook = await repository.run_hooks.get(made["id"])
    delivery = WebhookDelivery(
        id="delivery_private",
        user_id=ann.id,
        webhook_id=hook.lane,
        run_id=hook.id,
        kind="run.finished",
        body="{}",
    )
    closed = Delivering(repository, "api@test:9", allow_private=False, timeout_seconds=2)
    with pytest.raises(Exception, match="private network"):
        await closed._send(hook, delivery)
    assert desk.taken == []
