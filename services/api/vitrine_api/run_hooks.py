"""An address that is told of one run: named when the run is asked for, forgotten some days after its end.

Messages are signed, sent and sent again as those of webhooks are. That a run began or ended is told for
certain; pieces of its streamed outputs are told by the process that took the request, while it lives.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from vitrine_api.descriptions import outputs_out
from vitrine_api.policy import Action, Member, require
from vitrine_api.progress import Hub, News
from vitrine_api.resources import API
from vitrine_api.run_bodies import HookWish
from vitrine_api.runs import RunRecord
from vitrine_api.webhooks import Delivering, WebhookRepository, addresses
from vitrine_api.webhooks.delivering import message_body
from vitrine_api.webhooks.signing import new_secret
from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunHook, Version, WebhookDelivery
from vitrine_common.errors import Invalid, Problem, Unavailable
from vitrine_common.ids import new_id
from vitrine_common.states import RUN, RunState

log = logging.getLogger(__name__)

LONGEST = timedelta(days=30)
"""How long an address is kept for a run that never ends."""
KEPT = timedelta(days=2)
"""How long after the end: longer than a message is tried."""
SHOWN_DELIVERIES = 50
MAX_TOLD_CHARACTERS = 256_000
"""Most characters of outputs in one message; larger ones are left to be fetched."""
_PIECES_SECONDS = 1.0
_LOOK_SECONDS = 60.0

Begin = Callable[[str | None], Awaitable[RunRecord]]


class RunHooks:
    """Makes the hooks of runs, and tells them.

    Args:
        repository: where they are kept.
        delivering: sends what is queued.
        hub: news of runs while they happen.
        base_url: how people reach the platform.
        allow_private: whether addresses in private networks are taken.
    """

    def __init__(
        self,
        repository: WebhookRepository,
        delivering: Delivering,
        hub: Hub,
        base_url: str,
        *,
        allow_private: bool,
    ) -> None:
        self._repository = repository
        self._delivering = delivering
        self._hub = hub
        self._base_url = base_url
        self._allow_private = allow_private
        self._followers: set[asyncio.Task[None]] = set()

    def with_hook(self, member: Member, version: Version, wish: HookWish | None, begin: Begin) -> Begin:
        """Return `begin`, done so that the wished address is told of the run that it makes."""
        if wish is None:
            return begin

        async def begin_with_hook(run_id: str | None) -> RunRecord:
            hook = await self._made(member, version, wish, run_id or new_id("run"))
            try:
                record = await begin(hook.id)
            except Exception:
                if not await self._repository.is_run(hook.id):
                    await self._repository.remove_run_hook(hook)
                raise
            self._follow(hook, version.reference)
            return record

        return begin_with_hook

    async def secret(self, member: Member, record: RunRecord, wish: HookWish | None) -> str | None:
        """Return what messages are signed with; for the answer to the request that wished it."""
        if wish is None:
            return None
        hook = await self._repository.run_hooks.get(record.request.id)
        require(member, Action.SEE, hook)
        return hook.secret

    async def of(self, member: Member, run_id: str) -> tuple[RunHook, list[WebhookDelivery]]:
        """Return a run's hook and the last messages to it. Raises NotFound."""
        hook = await self._repository.run_hooks.get(run_id)
        require(member, Action.SEE, hook)
        return hook, await self._repository.of_run(hook, SHOWN_DELIVERIES)

    async def finished(self, run: Run, reference: str) -> None:
        """Tell of a run's end, and first of its beginning where nobody did. May be repeated."""
        hook = await self._repository.run_hooks.find_one({"_id": run.id})
        if hook is None:
            return
        if run.started_at is not None:
            await self._started(hook, reference)
        if "finished" in hook.events:
            data = {
                "title": f"A run of {reference} {run.state.value}",
                **self._about(hook, reference, run.state),
                "reason": run.reason.value if run.reason else None,
                "message": run.message,
                "timings": run.timings.model_dump(),
                **self._outputs(run),
            }
            await self._tell(hook, "finished", data)
        await self._repository.end_run_hook(hook, utcnow() + KEPT)

    async def close(self) -> None:
        """Stop following runs."""
        for task in self._followers:
            task.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)

    async def _made(self, member: Member, version: Version, wish: HookWish, run_id: str) -> RunHook:
        hook = RunHook(
            id=run_id,
            user_id=member.id,
            version_id=version.id,
            url=wish.url,
            events=list(wish.events),
            secret=new_secret(),
            ends_at=utcnow() + LONGEST,
        )
        # Before anything is asked of a name server, or written: whether the secret may be answered.
        require(member, Action.RUN, version)
        require(member, Action.SEE, hook)
        try:
            await addresses.resolve(wish.url, allow_private=self._allow_private, field="webhook")
        except Unavailable as error:
            message = f"webhook: {error.message}"
            raise Invalid(message, (Problem("webhook", message),)) from None
        return await self._repository.run_hooks.insert(hook)

    def _follow(self, hook: RunHook, reference: str) -> None:
        if {"started", "output"}.isdisjoint(hook.events):
            return
        task = asyncio.create_task(self._tell_live(hook, reference), name=f"webhook of {hook.id}")
        self._followers.add(task)
        task.add_done_callback(self._followers.discard)

    async def _tell_live(self, hook: RunHook, reference: str) -> None:
        """Tell of a run's beginning and of streamed pieces, at most once a second, until it ends."""
        pieces: list[dict[str, Any]] = []
        with self._hub.listen(hook.id) as queue:
            while True:
                try:
                    async with asyncio.timeout(_PIECES_SECONDS if pieces else _LOOK_SECONDS):
                        news = await queue.get()
                except TimeoutError:
                    if not pieces and not await self._goes_on(hook):
                        return
                    await self._tell_pieces(hook, reference, pieces)
                    continue
                if news is not None and news.payload.get("state") == RunState.RUNNING:
                    await self._started(hook, reference)
                if news is not None and "output" in hook.events:
                    pieces += news.payload.get("outputs") or []
                if news is None or _is_end(news):
                    await self._tell_pieces(hook, reference, pieces)
                    return

    async def _goes_on(self, hook: RunHook) -> bool:
        known = await self._repository.run_hooks.find_one({"_id": hook.id})
        return known is not None and known.ends_at == hook.ends_at

    async def _started(self, hook: RunHook, reference: str) -> None:
        if "started" in hook.events:
            data = self._about(hook, reference, RunState.RUNNING)
            await self._tell(hook, "started", {"title": f"A run of {reference} has begun", **data})

    async def _tell_pieces(self, hook: RunHook, reference: str, pieces: list[dict[str, Any]]) -> None:
        if pieces:
            data = {**self._about(hook, reference, RunState.RUNNING), "outputs": list(pieces)}
            name = f"{pieces[0]['name']}:{pieces[0]['start']}"
            pieces.clear()
            await self._tell(hook, "output", data, name)

    async def _tell(self, hook: RunHook, event: str, data: dict[str, Any], part: str = "") -> None:
        kind = f"run.{event}"
        body = message_body(kind, utcnow(), data)
        await self._delivering.queue_of_run(hook, kind, body, f"delivery_{hook.id}_{event}{part}")

    def _about(self, hook: RunHook, reference: str, state: RunState) -> dict[str, Any]:
        url = f"{self._base_url}/runs/{hook.id}"
        return {"url": url, "run_id": hook.id, "version": reference, "state": state.value}

    def _outputs(self, run: Run) -> dict[str, Any]:
        described = outputs_out(run.outputs, f"{self._base_url}{API}/runs/{run.id}")
        told = [output.model_dump(mode="json", exclude_none=True) for output in described]
        if len(json.dumps(told, ensure_ascii=False)) > MAX_TOLD_CHARACTERS:
            return {"outputs": [], "outputs_left_out": True}
        return {"outputs": told, "outputs_left_out": False}


def _is_end(news: News) -> bool:
    state = news.payload.get("state")
    return ".progress" not in news.type and state in set(RunState) and RUN.is_final(RunState(state))
