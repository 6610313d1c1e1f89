"""Database calls of webhooks and run hooks."""

from __future__ import annotations

from collections.abc import Collection as Names
from datetime import datetime
from typing import Any

from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunHook, RunRequest, Webhook, WebhookDelivery
from vitrine_common.documents.base import LONG_AGO
from vitrine_common.errors import Conflict
from vitrine_common.states import DeliveryState
from vitrine_common.store import Database

_SWEPT = 200


class WebhookRepository:
    """Webhooks and what was sent to them."""

    def __init__(self, database: Database) -> None:
        self.hooks = database.collection(Webhook)
        self.run_hooks = database.collection(RunHook)
        self.deliveries = database.collection(WebhookDelivery)
        self._requests = database.collection(RunRequest)
        self._runs = database.collection(Run)

    async def of_user(self, user_id: str) -> list[Webhook]:
        """Return an account's webhooks, newest first."""
        return await self.hooks.find({"user_id": user_id})

    async def listening(self, user_id: str, kind: str) -> list[Webhook]:
        """Return the account's webhooks that are told of `kind`."""
        hooks = await self.of_user(user_id)
        return [hook for hook in hooks if hook.active and (not hook.kinds or kind in hook.kinds)]

    async def meant(self, delivery: WebhookDelivery) -> Webhook | RunHook | None:
        """Return what a message is for, or None when it was removed."""
        if delivery.run_id:
            return await self.run_hooks.find_one({"_id": delivery.run_id})
        return await self.hooks.find_one({"_id": delivery.webhook_id})

    async def is_run(self, run_id: str) -> bool:
        """Say whether a run was asked for under this id."""
        return await self._requests.find_one({"_id": run_id}) is not None

    async def run(self, run_id: str) -> Run | None:
        """Return what became of a run; None while no runner has taken note of it."""
        return await self._runs.find_one({"_id": run_id})

    async def of_run(self, hook: RunHook, limit: int) -> list[WebhookDelivery]:
        """Return the newest messages about a run."""
        return await self.deliveries.find({"webhook_id": hook.lane, "run_id": hook.id}, limit=limit)

    async def end_run_hook(self, hook: RunHook, ends_at: datetime) -> None:
        """Have a run's hook forgotten then."""
        await self.run_hooks.update({"_id": hook.id}, {"ends_at": ends_at})

    async def quiet_run_hook(self, hook: RunHook) -> None:
        """Send no more about a run."""
        await self.run_hooks.update({"_id": hook.id}, {"active": False})

    async def remove_run_hook(self, hook: RunHook) -> None:
        """Delete a run's hook and what was sent to it."""
        await self.deliveries.delete({"webhook_id": hook.lane, "run_id": hook.id})
        await self.run_hooks.delete({"_id": hook.id})

    async def queue(self, delivery: WebhookDelivery) -> bool:
        """Write a delivery down; False when it is there already."""
        try:
            await self.deliveries.insert(delivery)
        except Conflict:
            return False
        return True

    async def due(self, limit: int, busy: Names[str]) -> list[WebhookDelivery]:
        """Return deliveries that may be sent now, of webhooks that are not `busy`."""
        where: dict[str, Any] = {"state": DeliveryState.WAITING, "due_at": {"$lte": utcnow()}}
        if busy:
            where["webhook_id"] = {"$nin": sorted(busy)}
        return await self.deliveries.find(where, (("due_at", 1),), limit)

    async def next_due_at(self) -> datetime | None:
        """Return when the next waiting delivery may be sent; None when none waits."""
        found = await self.deliveries.find({"state": DeliveryState.WAITING}, (("due_at", 1),), 1)
        return found[0].due_at if found else None

    async def newest(self, webhook_id: str, limit: int) -> list[WebhookDelivery]:
        """Return a webhook's newest deliveries."""
        return await self.deliveries.find({"webhook_id": webhook_id}, limit=limit)

    async def answered(self, hook: Webhook) -> None:
        """Note that a webhook works."""
        if hook.failing_since != LONG_AGO:
            await self.hooks.update({"_id": hook.id}, {"failing_since": LONG_AGO})

    async def failing(self, hook: Webhook) -> None:
        """Note that a webhook does not work, since when."""
        await self.hooks.update({"_id": hook.id, "failing_since": LONG_AGO}, {"failing_since": utcnow()})

    async def switch_off(self, hook: Webhook, problem: str) -> bool:
        """Switch a webhook off; False when it is off already."""
        where = {"_id": hook.id, "active": {"$in": [True, 1]}}
        return await self.hooks.update(where, {"active": False, "problem": problem}) is not None

    async def remove(self, hook: Webhook) -> None:
        """Delete a webhook and what was sent to it."""
        await self.hooks.delete({"_id": hook.id})
        await self.deliveries.delete({"webhook_id": hook.id})

    async def sweep(self, before: datetime) -> None:
        """Delete deliveries that were made before then, and run hooks that are over."""
        await self.deliveries.delete({"created_at": {"$lt": before}})
        while over := await self.run_hooks.find({"ends_at": {"$lt": utcnow()}}, limit=_SWEPT):
            for hook in over:
                await self.remove_run_hook(hook)
