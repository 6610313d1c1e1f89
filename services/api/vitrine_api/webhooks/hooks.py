"""An account's webhooks: made, listed, tried, given a new secret, removed."""

from __future__ import annotations

from collections.abc import Sequence

from vitrine_api.notifications.kinds import KINDS, TEST
from vitrine_api.policy import Action, Member, require
from vitrine_api.webhooks import addresses
from vitrine_api.webhooks.delivering import Delivering, message_body
from vitrine_api.webhooks.repository import WebhookRepository
from vitrine_api.webhooks.signing import new_secret
from vitrine_common.clock import utcnow
from vitrine_common.documents import Webhook, WebhookDelivery
from vitrine_common.documents.base import LONG_AGO
from vitrine_common.errors import Conflict, Invalid
from vitrine_common.ids import new_id

MAX_HOOKS = 20
SHOWN_DELIVERIES = 50


class Hooks:
    """What an account may do with its webhooks.

    Args:
        repository: where they are kept.
        delivering: sends what is queued.
        allow_private: whether addresses in private networks are taken.
    """

    def __init__(self, repository: WebhookRepository, delivering: Delivering, *, allow_private: bool) -> None:
        self._repository = repository
        self._delivering = delivering
        self._allow_private = allow_private

    async def create(self, member: Member, url: str, kinds: Sequence[str]) -> tuple[Webhook, str]:
        """Make a webhook; the secret is told this once.

        Raises Invalid for an address that is none or not public, or an unknown kind; Conflict when there
        are too many; Unavailable when the name does not resolve.
        """
        require(member, Action.CHANGE, None)
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise Invalid(f"kinds: there is no {unknown[0]}; there are {', '.join(KINDS)}")
        await addresses.resolve(url, allow_private=self._allow_private)
        if len(await self._repository.of_user(member.id)) >= MAX_HOOKS:
            raise Conflict(f"an account has at most {MAX_HOOKS} webhooks; remove one first")
        secret = new_secret()
        hook = Webhook(id=new_id("hook"), user_id=member.id, url=url, kinds=sorted(set(kinds)), secret=secret)
        return await self._repository.hooks.insert(hook), secret

    async def mine(self, member: Member) -> list[Webhook]:
        """Return the account's webhooks, newest first."""
        require(member, Action.SEE, None)
        return await self._repository.of_user(member.id)

    async def get(self, member: Member, hook_id: str, action: Action = Action.SEE) -> Webhook:
        """Return a webhook of the account. Raises NotFound, Denied."""
        hook = await self._repository.hooks.get(hook_id)
        require(member, action, hook)
        return hook

    async def rotate(self, member: Member, hook_id: str) -> tuple[Webhook, str]:
        """Give a webhook a new secret, told this once; messages are signed by the old one as well.

        The secret before the old one is dropped.
        """
        hook = await self.get(member, hook_id, Action.CHANGE)
        secret = new_secret()
        changed = await self._repository.hooks.require(
            {"_id": hook.id, "secret": hook.secret}, {"secret": secret, "previous_secret": hook.secret}
        )
        return changed, secret

    async def switch_on(self, member: Member, hook_id: str) -> Webhook:
        """Let a webhook that was switched off be told again."""
        hook = await self.get(member, hook_id, Action.CHANGE)
        changes = {"active": True, "problem": "", "failing_since": LONG_AGO}
        return await self._repository.hooks.require({"_id": hook.id}, changes)

    async def remove(self, member: Member, hook_id: str) -> None:
        """Delete a webhook and the log of what was sent to it."""
        await self._repository.remove(await self.get(member, hook_id, Action.CHANGE))

    async def test(self, member: Member, hook_id: str) -> WebhookDelivery:
        """Send a message that says nothing but that it arrived."""
        hook = await self.get(member, hook_id, Action.CHANGE)
        body = message_body(TEST, utcnow(), {"webhook_id": hook.id})
        return await self._delivering.queue(hook, TEST, body, new_id("delivery"))

    async def deliveries(self, member: Member, hook_id: str) -> list[WebhookDelivery]:
        """Return what was sent to a webhook last."""
        hook = await self.get(member, hook_id)
        return await self._repository.newest(hook.id, SHOWN_DELIVERIES)

    async def replay(self, member: Member, hook_id: str, delivery_id: str) -> WebhookDelivery:
        """Send a message again, soon. Raises NotFound, Conflict while it is under way."""
        hook = await self.get(member, hook_id, Action.CHANGE)
        delivery = await self._repository.deliveries.get(delivery_id)
        require(member, Action.CHANGE, delivery)
        return await self._delivering.replay(hook, delivery)
