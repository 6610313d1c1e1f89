"""Messages to webhooks: signed, sent again until they are taken, never into the platform's own network."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from api_instance import Account, Instance, problem
from hook_desk import HookDesk, Received, hook_desk
from vitrine_api.notifications.news import News
from vitrine_api.webhooks import Delivering, WebhookRepository
from vitrine_api.webhooks.delivering import PAUSES
from vitrine_api.webhooks.hooks import Hooks
from vitrine_common.clock import utcnow
from vitrine_common.documents import Notification, Webhook, WebhookDelivery
from vitrine_common.ids import new_id
from vitrine_common.states import DeliveryState


@pytest.fixture
async def repository(api: Instance, monkeypatch: pytest.MonkeyPatch) -> WebhookRepository:
    """The collections of this instance, emptied, whose own sender rests meanwhile."""

    async def nothing() -> None:
        return None

    monkeypatch.setattr(api.services.delivering, "_begin", nothing)
    repository = WebhookRepository(api.platform.database)
    await repository.deliveries.delete({"state": {"$in": list(DeliveryState)}})
    return repository


@asynccontextmanager
async def sender(
    repository: WebhookRepository, *, private: bool = True, seconds: float = 2.0, api: Instance | None = None
) -> AsyncIterator[Delivering]:
    """A sender at work."""
    made = Delivering(repository, "api@test:1", allow_private=private, timeout_seconds=seconds)
    if api is not None:
        made.on_switched_off = api.services.notices.webhook_switched_off
    task = asyncio.create_task(made.send_forever())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def hook_of(repository: WebhookRepository, account: Account, desk: HookDesk, **fields: Any) -> Webhook:
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    hook = Webhook(id=new_id("hook"), user_id=account.id, url=desk.url, secret=secret)
    return await repository.hooks.insert(hook.model_copy(update=fields))


async def until(found: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while True:
            value = found()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.02)


async def in_state(repository: WebhookRepository, delivery_id: str, state: DeliveryState) -> WebhookDelivery:
    async def there() -> WebhookDelivery | None:
        delivery = await repository.deliveries.get(delivery_id)
        return delivery if delivery.state is state and delivery.lease_token == "" else None

    found: WebhookDelivery = await until(there)
    return found


def is_signed(request: Received, secret: str) -> bool:
    """Check a signature the way that a receiver does, by the specification alone."""
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.{request.body}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in request.headers["webhook-signature"].split(" ")


async def test_news_reach_a_webhook_signed_and_once(api: Instance, repository: WebhookRepository) -> None:
    account = await api.account()
    news = News(
        user_id=account.id, kind="version.ready", key="v1", title="It runs", path="/x", data={"number": 3}
    )
    async with hook_desk() as desk, sender(repository) as sending:
        hook = await hook_of(repository, account, desk, kinds=["version.ready"])
        other = await hook_of(repository, account, desk, kinds=["claim.checked"])
        await asyncio.gather(*(api.services.notices.tell(news) for _ in range(5)))
        sending._news.set()
        (delivery,) = await repository.newest(hook.id, 9)
        done = await in_state(repository, delivery.id, DeliveryState.DELIVERED)
        assert await repository.newest(other.id, 9) == []
    (request,) = desk.taken
    assert request.path == "/hook?from=test"
    assert request.headers["webhook-id"] == delivery.id
    assert request.headers["host"] == f"127.0.0.1:{desk.port}"
    assert is_signed(request, hook.secret)
    assert not is_signed(request, other.secret[:-8] + "AAAAAAA=")
    told = json.loads(request.body)
    assert told["type"] == "version.ready"
    assert told["data"] == {"title": "It runs", "url": f"{api.url}/x", "number": 3}
    assert (done.status_code, done.tries, done.problem) == (204, 1, "")


async def test_what_is_refused_is_sent_again_word_for_word(
    api: Instance, repository: WebhookRepository
) -> None:
    account = await api.account()
    async with hook_desk() as desk, sender(repository) as sending:
        desk.answers = ["503 Later", "302 Elsewhere", "200 OK"]
        hook = await hook_of(repository, account, desk)
        delivery = await sending.queue(hook, "webhook.test", '{"a": "ü"}', new_id("delivery"))
        for tries, said in ((1, "503"), (2, "302 (redirections are not followed)")):
            waiting = await until(
                lambda tries=tries: _tried(repository, delivery.id, tries)  # type: ignore[misc]
            )
            assert said in waiting.problem
            pause = (waiting.due_at - utcnow()).total_seconds()
            assert PAUSES[tries - 1] - 3 < pause <= PAUSES[tries - 1]
            assert (await repository.hooks.get(hook.id)).failing_since <= utcnow()
            await repository.deliveries.update({"_id": delivery.id}, {"due_at": utcnow()})
            sending._news.set()
        await in_state(repository, delivery.id, DeliveryState.DELIVERED)
    assert [request.path for request in desk.taken] == ["/hook?from=test"] * 3
    assert {(request.body, request.headers["webhook-id"]) for request in desk.taken} == {
        ('{"a": "ü"}', delivery.id)
    }
    assert (await repository.hooks.get(hook.id)).failing_since.year == 1970


async def _tried(repository: WebhookRepository, delivery_id: str, tries: int) -> WebhookDelivery | None:
    delivery = await repository.deliveries.get(delivery_id)
    return delivery if delivery.tries == tries and delivery.state is DeliveryState.WAITING else None


async def test_an_address_that_never_answers_is_switched_off_and_its_owner_told(
    api: Instance, repository: WebhookRepository
) -> None:
    account = await api.account()
    async with hook_desk() as desk, sender(repository, api=api) as sending:
        desk.answers = ["500 No"]
        long_ago = utcnow() - timedelta(days=2)
        hook = await hook_of(repository, account, desk, failing_since=long_ago)
        delivery = WebhookDelivery(
            id=new_id("delivery"),
            user_id=account.id,
            webhook_id=hook.id,
            kind="version.ready",
            body="{}",
            tries=len(PAUSES),
        )
        await repository.queue(delivery)
        sending._news.set()
        await in_state(repository, delivery.id, DeliveryState.FAILED)
        off = await until(lambda: _off(repository, hook.id))
        assert "500" in off.problem
        notices = api.services.notices.repository.notifications
        told = await until(lambda: notices.find({"user_id": account.id}))
        assert [item.kind for item in told] == ["webhook.switched_off"]
        # Switched on and replayed, what was missed arrives.
        desk.answers = ["200 OK"]
        assert (await account.client.post(f"/api/v1/webhooks/{hook.id}/activation")).json()["active"]
        path = f"/api/v1/webhooks/{hook.id}/deliveries/{delivery.id}/replay"
        assert (await account.client.post(path)).status_code == 202
        sending._news.set()
        await in_state(repository, delivery.id, DeliveryState.DELIVERED)
        assert [item["id"] for item in await listed(account, f"webhooks/{hook.id}/deliveries")] == [
            delivery.id
        ]


async def _off(repository: WebhookRepository, hook_id: str) -> Webhook | None:
    hook = await repository.hooks.get(hook_id)
    return None if hook.active else hook


async def listed(account: Account, path: str) -> list[dict[str, Any]]:
    answer = await account.client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_gone_is_believed_at_once(api: Instance, repository: WebhookRepository) -> None:
    account = await api.account()
    async with hook_desk() as desk, sender(repository) as sending:
        desk.answers = ["410 Gone"]
        hook = await hook_of(repository, account, desk)
        delivery = await sending.queue(hook, "webhook.test", "{}", new_id("delivery"))
        await in_state(repository, delivery.id, DeliveryState.FAILED)
        await until(lambda: _off(repository, hook.id))
        later = await sending.queue(hook, "webhook.test", "{}", new_id("delivery"))
        failed = await in_state(repository, later.id, DeliveryState.FAILED)
        assert failed.problem == "the webhook is switched off"
    assert len(desk.taken) == 1


async def test_a_slow_address_holds_up_nobody_elses_messages(
    api: Instance, repository: WebhookRepository
) -> None:
    account = await api.account()
    async with hook_desk() as slow, hook_desk() as quick, sender(repository, seconds=30) as sending:
        slow.held = asyncio.Event()
        slow_hook = await hook_of(repository, account, slow)
        quick_hook = await hook_of(repository, account, quick)
        for _ in range(30):
            await sending.queue(slow_hook, "webhook.test", "{}", new_id("delivery"))
        await until(lambda: len(slow.taken) == 4)
        ids = [
            (await sending.queue(quick_hook, "webhook.test", "{}", new_id("delivery"))).id for _ in range(8)
        ]
        for delivery_id in ids:
            await in_state(repository, delivery_id, DeliveryState.DELIVERED)
        assert len(slow.taken) == 4
        slow.held.set()
        await until(lambda: len(slow.taken) == 30)


async def test_an_answer_without_end_and_a_silent_address(
    api: Instance, repository: WebhookRepository
) -> None:
    account = await api.account()
    async with hook_desk() as endless, sender(repository, seconds=15.0) as sending:
        endless.endless = True
        endless.answers = ["200 OK"]
        to_endless = await sending.queue(
            await hook_of(repository, account, endless), "webhook.test", "{}", new_id("delivery")
        )
        await in_state(repository, to_endless.id, DeliveryState.DELIVERED)
    async with hook_desk() as silent, sender(repository, seconds=1.0) as sending:
        silent.held = asyncio.Event()
        to_silent = await sending.queue(
            await hook_of(repository, account, silent), "webhook.test", "{}", new_id("delivery")
        )
        waiting = await until(lambda: _tried(repository, to_silent.id, 1))
        assert waiting.problem == "no answer within 1 s"


@pytest.mark.parametrize("turns", range(5))
async def test_a_sender_ends_when_told_whatever_happens_at_that_moment(
    repository: WebhookRepository, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """News and the end within a few turns of the loop: the news must not swallow the end."""
    waiting = asyncio.Event()

    async def pause() -> float:
        waiting.set()
        return 60.0

    sending = Delivering(repository, "api@test:1", allow_private=True, timeout_seconds=1.0)
    monkeypatch.setattr(sending, "_pause", pause)
    task = asyncio.create_task(sending.send_forever())
    await waiting.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    sending._news.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    assert await asyncio.wait([task], timeout=20) == ({task}, set())
    assert task.cancelled()


async def test_what_a_killed_process_was_sending_is_sent_by_another(
    api: Instance, repository: WebhookRepository
) -> None:
    account = await api.account()
    async with hook_desk() as desk:
        hook = await hook_of(repository, account, desk)
        held = WebhookDelivery(
            id=new_id("delivery"),
            user_id=account.id,
            webhook_id=hook.id,
            kind="webhook.test",
            body="{}",
            state=DeliveryState.SENDING,
            lease_token="dead",
            lease_expires_at=utcnow() - timedelta(seconds=1),
        )
        await repository.queue(held)
        async with sender(repository), sender(repository), sender(repository):
            await in_state(repository, held.id, DeliveryState.DELIVERED)
    assert len(desk.taken) == 1


async def test_a_name_that_changes_its_address_gains_nothing(
    api: Instance, repository: WebhookRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public while the webhook is made, loopback when the message is sent."""
    account = await api.account()
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo
    answer = "1.1.1.1"

    async def found(host: Any, port: Any, **options: Any) -> list[Any]:
        if host == "rebinding.example.org":
            return [(2, 1, 6, "", (answer, port))]
        return list(await real(host, port, **options))

    monkeypatch.setattr(loop, "getaddrinfo", found)
    async with hook_desk() as desk, sender(repository, private=False) as sending:
        url = f"http://rebinding.example.org:{desk.port}/"
        hooks = Hooks(repository, sending, allow_private=False)
        made = await account.client.post("/api/v1/webhooks", json={"url": url})
        assert made.status_code == 201, made.text
        answer = "127.0.0.1"
        member = await api.services.tokens.member(account.token)
        assert member is not None
        delivery = await hooks.test(member, made.json()["id"])
        waiting = await until(lambda: _tried(repository, delivery.id, 1))
        assert "inside a private network (127.0.0.1)" in waiting.problem
    assert desk.taken == []


async def test_webhooks_by_the_interface(api: Instance, repository: WebhookRepository) -> None:
    account, other = await api.account(), await api.account()
    post = account.client.post
    for url, word in (
        ("http://127.0.0.1:1/", "private network"),
        ("http://localhost/", "private network"),
        ("gopher://example.org/", "https://example.org/hook"),
    ):
        assert word in problem(await post("/api/v1/webhooks", json={"url": url}), 422)["detail"]
    wish = {"url": "http://1.1.1.1/hook", "kinds": ["no.such"]}
    assert "no.such" in problem(await post("/api/v1/webhooks", json=wish), 422)["detail"]
    made = (await post("/api/v1/webhooks", json={"url": "http://1.1.1.1/hook"})).json()
    first = made["secret"]
    path = f"/api/v1/webhooks/{made['id']}"
    assert (await account.client.get(path)).json()["secret"] is None
    second = (await post(f"{path}/secret")).json()["secret"]
    third = (await post(f"{path}/secret")).json()["secret"]
    assert len({first, second, third}) == 3
    hook = await repository.hooks.get(made["id"])
    assert (hook.secret, hook.previous_secret) == (third, second)
    delivery = (await post(f"{path}/test")).json()
    assert json.loads(delivery["body"])["type"] == "webhook.test"
    problem(await post(f"{path}/deliveries/{delivery['id']}/replay"), 409)
    for method, place in (("GET", path), ("DELETE", path), ("POST", f"{path}/test")):
        problem(await other.client.request(method, place), 404)
    assert await listed(other, "webhooks") == []
    assert [item["id"] for item in await listed(account, "webhooks")] == [made["id"]]
    assert (await account.client.delete(path)).status_code == 204
    assert await repository.newest(made["id"], 9) == []
    for _ in range(20):
        assert (await post("/api/v1/webhooks", json={"url": "http://1.1.1.1/"})).status_code == 201
    problem(await post("/api/v1/webhooks", json={"url": "http://1.1.1.1/"}), 409)
    assert await api.platform.database.collection(Notification).find({"user_id": account.id}) == []


async def test_a_new_secret_and_the_one_before_both_sign(
    api: Instance, repository: WebhookRepository
) -> None:
    account = await api.account()
    async with hook_desk() as desk, sender(repository) as sending:
        hook = await hook_of(repository, account, desk)
        rotated = (await account.client.post(f"/api/v1/webhooks/{hook.id}/secret")).json()["secret"]
        current = await repository.hooks.get(hook.id)
        delivery = await sending.queue(current, "webhook.test", "{}", new_id("delivery"))
        await in_state(repository, delivery.id, DeliveryState.DELIVERED)
    (request,) = desk.taken
    assert is_signed(request, hook.secret)
    assert is_signed(request, rotated)
