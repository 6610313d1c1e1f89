"""What an account wants by e-mail, and the addresses in mails that end a kind of them."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping

from vitrine_api.notifications.kinds import KINDS, Kind
from vitrine_api.notifications.repository import NotificationRepository
from vitrine_api.policy import Action, Member, require
from vitrine_common.documents import NotificationWishes
from vitrine_common.errors import Invalid, NotFound


def wants_mail(wishes: NotificationWishes | None, kind: Kind) -> bool:
    """Say whether an account has news of a kind by e-mail."""
    return kind.mail if wishes is None else bool(wishes.mail.get(kind.key, kind.mail))


def unsubscribe_token(wishes: NotificationWishes, kind: Kind) -> str:
    """Return what stands in the address that ends mails of a kind."""
    return f"{wishes.id}.{kind.key}.{wishes.key}"


class Wishes:
    """Reads and changes wishes."""

    def __init__(self, repository: NotificationRepository) -> None:
        self._repository = repository

    async def of(self, member: Member) -> Mapping[str, bool]:
        """Return by kind whether the account has it by e-mail."""
        require(member, Action.SEE, None)
        wishes = await self._repository.known_wishes(member.id)
        return {kind.name: wants_mail(wishes, kind) for kind in KINDS.values() if kind.page}

    async def choose(self, member: Member, kinds: Collection[str]) -> None:
        """Have just these kinds by e-mail. Raises Invalid."""
        require(member, Action.CHANGE, None)
        possible = {kind.name: kind for kind in KINDS.values() if kind.page}
        unknown = sorted(set(kinds) - set(possible))
        if unknown:
            raise Invalid(f"kinds: there is no {unknown[0]}; there are {', '.join(possible)}")
        known = await self._repository.wishes(member.id)
        for name, kind in possible.items():
            if wants_mail(known, kind) != (name in kinds):
                await self._repository.set_mail(member.id, kind.key, wanted=name in kinds)

    async def meant(self, token: str) -> tuple[str, Kind]:
        """Return whose mails of which kind an address in a mail ends. Raises NotFound."""
        user_id, _, rest = token.partition(".")
        key, _, secret = rest.partition(".")
        kind = next((kind for kind in KINDS.values() if kind.key == key), None)
        wishes = await self._repository.known_wishes(user_id) if kind is not None else None
        if kind is None or wishes is None or not hmac.compare_digest(wishes.key.encode(), secret.encode()):
            raise NotFound("this address ends no mails; change them in your settings")
        return user_id, kind

    async def unsubscribe(self, token: str) -> Kind:
        """End the mails of a kind; whoever has the mail may. Raises NotFound."""
        user_id, kind = await self.meant(token)
        await self._repository.set_mail(user_id, kind.key, wanted=False)
        return kind
