"""An address that is told of one run: named when the run is asked for, forgotten some days after its end.

Messages are signed, sent and sent again as those of webhooks are. That a run began or ended is told for
certain; pieces of its streamed outputs are told by the process that took the request, while it lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta

from vitrine_api.policy import Action, Member, require
from vitrine_api.progress import Hub, News
from vitrine_api.run_bodies import HookWish
from vitrine_api.run_hook_following import Following
from vitrine_api.run_hook_messages import RunHookMessages
from vitrine_api.runs import RunRecord
from vitrine_api.webhooks import Delivering, WebhookRepository, addresses
from vitrine_api.webhooks.signing import new_secret
from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunHook, Version, WebhookDelivery
from vitrine_common.errors import Invalid, Problem, Unavailable
from vitrine_common.ids import new_id
from vitrine_common.states import RunState

log = logging.getLogger(__name__)

LONGEST = timedelta(days=30)
"""How long an address is kept for a run that never ends."""
KEPT = timedelta(days=2)
"""How long after the end: longer than a message is tried."""
SHOWN_DELIVERIES = 50

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
        self._messages = RunHookMessages(delivering, base_url)
        self._hub = hub
        self._allow_private = allow_private
        self._followers: set[asyncio.Task[None]] = set()

    def with_hook(self, member: Member, version: Version, wish: HookWish | None, begin: Begin) -> Begin:
        """Return `begin`, done so that the wished address is told of the run that it makes."""
        if wish is None:
            return begin

        async def begin_with_hook(run_id: str | None) -> RunRecord:
            hook = await self._made(member, version, wish, run_id or new_id("run"))
            with ExitStack() as listening:
                # From before it begins: a model that is ready computes before this is heard of otherwise.
                queue = listening.enter_context(self._hub.listen(hook.id))
                try:
                    record = await begin(hook.id)
                except Exception:
                    if not await self._repository.is_run(hook.id):
                        await self._repository.remove_run_hook(hook)
                    raise
                if not {"started", "output"}.isdisjoint(hook.events):
                    self._follow(hook, version.reference, queue, listening.pop_all())
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
        if _has_computed(run):
            await self._messages.started(hook, reference)
        await self._messages.finished(hook, reference, run)
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

    def _follow(
        self, hook: RunHook, reference: str, queue: asyncio.Queue[News | None], listening: ExitStack
    ) -> None:
        following = Following(self._repository, self._messages, hook, reference, queue)
        task = asyncio.create_task(following.follow(), name=f"webhook of {hook.id}")
        self._followers.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            listening.close()
            self._followers.discard(done)
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("a run is not followed any more", extra={"run": hook.id}, exc_info=error)

        task.add_done_callback(ended)


def _has_computed(run: Run) -> bool:
    """Say whether a run that has ended computed at last: `started_at` is when a runner took it."""
    return run.state is RunState.SUCCEEDED or run.timings.start_ms is not None
