"""Messages to webhooks are written down, sent, and sent again for a day until they are taken.

Several processes may send from one collection: a lease decides. A slow address holds up nobody else's
messages: each has few places at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx

from vitrine_api.webhooks import addresses
from vitrine_api.webhooks.repository import WebhookRepository
from vitrine_api.webhooks.signing import headers
from vitrine_common.clock import utcnow
from vitrine_common.documents import RunHook, Webhook, WebhookDelivery
from vitrine_common.errors import Conflict, NotFound, StaleState, VitrineError
from vitrine_common.leases import WorkQueue
from vitrine_common.states import DELIVERY, DeliveryState

log = logging.getLogger(__name__)

PAUSES = (5, 60, 300, 1800, 7200, 18_000, 36_000, 36_000)
"""Seconds between the tries of one message; together a little over a day."""
KEPT = timedelta(days=30)
_AT_ONCE = 16
_AT_ONCE_PER_HOOK = 4
_LOOK_SECONDS = 15.0
_LEASE_SECONDS = 60.0

OnSwitchedOff = Callable[[Webhook], Awaitable[None]]


def message_body(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    """Return what is sent, in the form that the Standard Webhooks specification recommends."""
    return json.dumps({"type": kind, "timestamp": at.isoformat(), "data": dict(data)}, ensure_ascii=False)


class _Outcome(Exception):
    """A try that did not succeed; `final` when no other will."""

    def __init__(self, problem: str, status: int = 0, *, final: bool = False) -> None:
        super().__init__(problem)
        self.problem, self.status, self.final = problem, status, final


class Delivering:
    """Sends messages to webhooks.

    Args:
        repository: where webhooks and messages are kept.
        holder: names this process in leases.
        allow_private: whether addresses in private networks are sent to.
        timeout_seconds: for one try, from the name's resolution to the answer's head.
    """

    def __init__(
        self, repository: WebhookRepository, holder: str, *, allow_private: bool, timeout_seconds: float
    ) -> None:
        self._repository = repository
        self._queue = WorkQueue(repository.deliveries, DELIVERY, holder, _LEASE_SECONDS)
        self._allow_private = allow_private
        self._timeout = timeout_seconds
        self._news = asyncio.Event()
        self._sending: dict[asyncio.Task[None], str] = {}
        self.on_switched_off: OnSwitchedOff | None = None
        """Told of a webhook that was switched off since nobody answers there."""

    async def queue(self, hook: Webhook, kind: str, body: str, delivery_id: str) -> WebhookDelivery:
        """Write a message down, to be sent soon; the same id twice is one message."""
        delivery = WebhookDelivery(
            id=delivery_id, user_id=hook.user_id, webhook_id=hook.id, kind=kind, body=body
        )
        await self._repository.queue(delivery)
        self._news.set()
        return delivery

    async def queue_of_run(self, hook: RunHook, kind: str, body: str, delivery_id: str) -> None:
        """Write a message about a run down, to be sent soon; the same id twice is one message."""
        delivery = WebhookDelivery(
            id=delivery_id, user_id=hook.user_id, webhook_id=hook.lane, run_id=hook.id, kind=kind, body=body
        )
        await self._repository.queue(delivery)
        self._news.set()

    async def replay(self, hook: Webhook, delivery: WebhookDelivery) -> WebhookDelivery:
        """Queue an ended message once more. Raises NotFound, Conflict."""
        if delivery.webhook_id != hook.id:
            raise NotFound(f"there is no {delivery.noun()} {delivery.id}")
        again = None
        if delivery.state in {DeliveryState.DELIVERED, DeliveryState.FAILED}:
            changes = {"due_at": utcnow(), "tries": 0, "problem": ""}
            again = await self._queue.settle(delivery.id, delivery.state, DeliveryState.WAITING, changes)
        if again is None:
            raise Conflict("this message is still under way; it is sent again by itself")
        self._news.set()
        return again

    async def send_forever(self) -> None:
        """Send what is due, as soon as it is there."""
        try:
            while True:
                self._news.clear()
                try:
                    await self._begin()
                    pause = await self._pause()
                except Exception:
                    log.exception("webhooks will be looked at again")
                    pause = _LOOK_SECONDS
                try:
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _begin(self) -> None:
        """Begin to send what is due, as far as there is room."""
        for abandoned in await self._queue.expired():
            await self._queue.settle(
                abandoned.id, DeliveryState.SENDING, DeliveryState.WAITING, {"due_at": utcnow()}
            )
        while (room := _AT_ONCE - len(self._sending)) > 0:
            load = Counter(self._sending.values())
            busy = {hook for hook, count in load.items() if count >= _AT_ONCE_PER_HOOK}
            due = await self._repository.due(room, busy)
            begun = 0
            for delivery in due:
                if load[delivery.webhook_id] >= _AT_ONCE_PER_HOOK:
                    continue
                claimed = await self._queue.claim(delivery.id, DeliveryState.SENDING)
                if claimed is not None:
                    load[delivery.webhook_id] += 1
                    begun += 1
                    task = asyncio.create_task(self._carry(claimed))
                    self._sending[task] = claimed.webhook_id
                    task.add_done_callback(self._ended)
            if not begun:
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._news.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("a message to a webhook was left to be found again", exc_info=task.exception())

    async def _pause(self) -> float:
        due_at = await self._repository.next_due_at()
        if due_at is None or len(self._sending) >= _AT_ONCE:
            return _LOOK_SECONDS
        # What is due and was not begun waits for a place, and news of a place come by themselves.
        return min(max(0.5, (due_at - utcnow()).total_seconds()), _LOOK_SECONDS)

    async def _carry(self, delivery: WebhookDelivery) -> None:
        hook = await self._repository.meant(delivery)
        if hook is None:
            return await self._end(delivery, DeliveryState.FAILED, {"problem": "the webhook was removed"})
        started = time.perf_counter()
        try:
            status = await self._send(hook, delivery)
        except _Outcome as outcome:
            return await self._failed(hook, delivery, outcome, _since(started))
        if isinstance(hook, Webhook):
            await self._repository.answered(hook)
        done = {"status_code": status, "duration_ms": _since(started), "problem": ""}
        return await self._end(delivery, DeliveryState.DELIVERED, {**done, "tries": delivery.tries + 1})

    async def _send(self, hook: Webhook | RunHook, delivery: WebhookDelivery) -> int:
        """Send once and return the status. Raises _Outcome unless the message was taken."""
        if not hook.active:
            raise _Outcome("the webhook is switched off", final=True)
        try:
            async with asyncio.timeout(self._timeout):
                place = await addresses.resolve(hook.url, allow_private=self._allow_private)
                status = await self._post(place, hook, delivery)
        except TimeoutError:
            raise _Outcome(f"no answer within {self._timeout:g} s") from None
        except VitrineError as error:
            raise _Outcome(error.message) from error
        except (httpx.HTTPError, OSError) as error:
            raise _Outcome(f"{type(error).__name__}: {error}"[:300]) from error
        if 200 <= status < 300:
            return status
        if status == 410:
            raise _Outcome("the address answers 410: it wants no messages any more", status, final=True)
        where = " (redirections are not followed)" if 300 <= status < 400 else ""
        raise _Outcome(f"the address answers {status}{where}", status)

    async def _post(
        self, place: addresses.Destination, hook: Webhook | RunHook, delivery: WebhookDelivery
    ) -> int:
        signed = headers(hook.secrets, delivery.id, delivery.body, utcnow())
        # A client for each message: no cookies, no proxies of the environment, no connection kept.
        async with httpx.AsyncClient(trust_env=False, timeout=self._timeout) as client:
            request = client.build_request(
                "POST",
                place.url,
                content=delivery.body.encode(),
                headers={**signed, "host": place.host},
                extensions={"sni_hostname": place.server_name},
            )
            answer = await client.send(request, stream=True)
            # Nobody needs what it says, and it may never end.
            await answer.aclose()
        return answer.status_code

    async def _failed(
        self, hook: Webhook | RunHook, delivery: WebhookDelivery, outcome: _Outcome, ms: float
    ) -> None:
        tries = delivery.tries + 1
        noted = {"status_code": outcome.status, "duration_ms": ms, "problem": outcome.problem, "tries": tries}
        if isinstance(hook, Webhook) and hook.active:
            await self._repository.failing(hook)
        if not outcome.final and tries <= len(PAUSES):
            later = utcnow() + timedelta(seconds=PAUSES[tries - 1])
            return await self._end(delivery, DeliveryState.WAITING, {**noted, "due_at": later})
        await self._end(delivery, DeliveryState.FAILED, noted)
        if isinstance(hook, RunHook):
            if outcome.status == 410:
                await self._repository.quiet_run_hook(hook)
        elif hook.active and await self._gave_up(hook, outcome):
            log.info("webhook switched off", extra={"webhook": hook.id})
        return None

    async def _gave_up(self, hook: Webhook, outcome: _Outcome) -> bool:
        """Switch a webhook off that took nothing during all the tries of a message, or said goodbye."""
        now = await self._repository.hooks.find_one({"_id": hook.id})
        worked_since = now is None or now.failing_since > utcnow() - timedelta(seconds=sum(PAUSES) * 0.9)
        if worked_since and outcome.status != 410:
            return False
        switched = await self._repository.switch_off(hook, outcome.problem)
        if switched and self.on_switched_off is not None:
            await self.on_switched_off(hook)
        return switched

    async def _end(self, delivery: WebhookDelivery, state: DeliveryState, noted: Mapping[str, Any]) -> None:
        try:
            await self._queue.advance(delivery, state, noted)
        except StaleState:  # another process sends it once more; the id tells the receiver
            log.warning("lost the lease on a message", extra={"delivery": delivery.id})

    async def sweep(self) -> None:
        """Delete what was sent long ago."""
        await self._repository.sweep(utcnow() - KEPT)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
