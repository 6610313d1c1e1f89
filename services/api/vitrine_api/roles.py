"""Roles on the whole instance, and quotas of one account: given and taken by operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitrine_api import audit
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Accounts
from vitrine_common.documents import Role, User
from vitrine_common.errors import Conflict, NotFound

QUOTAS = ("max_storage_bytes", "max_runs_per_day", "max_build_seconds_per_day")


class Roles:
    """Says who is validator, chair and operator."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def user(self, member: Member, name: str) -> User:
        """Return the account of a name. Raises NotFound; operators only."""
        require(member, Action.OPERATE, None)
        user = await self._accounts.user_by_login(name)
        if user is None:
            raise NotFound(f"there is no account {name}")
        return user

    async def set(
        self, member: Member, name: str, roles: Sequence[Role], *, operator: bool | None = None
    ) -> User:
        """Give an account exactly these roles. Raises Conflict for operators who shut themselves out."""
        user = await self.user(member, name)
        if operator is False and user.id == member.id:
            raise Conflict("you cannot take the operator's role from yourself; let another operator do it")
        wanted = sorted(set(roles))
        is_operator = user.operator if operator is None else operator
        changed = await self._accounts.users.require(
            {"_id": user.id}, {"roles": wanted, "operator": is_operator}
        )
        before = {*user.roles, *(["operator"] if user.operator else [])}
        after = {*wanted, *(["operator"] if is_operator else [])}
        for role in sorted(after - before):
            await audit.record(self._accounts, member, f"role.granted:{role}", user, owner_id=user.id)
        for role in sorted(before - after):
            await audit.record(self._accounts, member, f"role.revoked:{role}", user, owner_id=user.id)
        return changed

    async def set_quotas(self, member: Member, name: str, quotas: Mapping[str, int | None]) -> User:
        """Give an account quotas of its own; None means the instance's."""
        user = await self.user(member, name)
        changes = {key: quotas[key] for key in QUOTAS if key in quotas}
        changed = await self._accounts.users.require({"_id": user.id}, changes)
        await audit.record(self._accounts, member, "quota.set", user, owner_id=user.id)
        return changed
