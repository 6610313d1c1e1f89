"""Users, sessions, tokens, invites and the audit log."""

from __future__ import annotations

from collections.abc import Iterable

from vitrine_api.repository.paging import by_ids
from vitrine_common.clock import utcnow
from vitrine_common.documents import (
    AccountTicket,
    ApiToken,
    AuditEntry,
    Collaborator,
    Identity,
    Invite,
    KnownDevice,
    Session,
    User,
)
from vitrine_common.store import Database


class Accounts:
    """Users, sessions, tokens, invites and the audit log."""

    def __init__(self, database: Database) -> None:
        self.users = database.collection(User)
        self.sessions = database.collection(Session)
        self.identities = database.collection(Identity)
        self.tokens = database.collection(ApiToken)
        self.invites = database.collection(Invite)
        self.collaborators = database.collection(Collaborator)
        self.tickets = database.collection(AccountTicket)
        self.devices = database.collection(KnownDevice)
        self.audit = database.collection(AuditEntry)

    async def user_by_login(self, login: str) -> User | None:
        """Return the user of an e-mail address or name."""
        field = "email" if "@" in login else "name"
        return await self.users.find_one({field: login.strip().lower()})

    async def user(self, user_id: str) -> User | None:
        """Return the user, or None."""
        return await self.users.find_one({"_id": user_id})

    async def users_by_ids(self, ids: Iterable[str]) -> dict[str, User]:
        """Return accounts by id."""
        return await by_ids(self.users, ids)

    async def any_user(self) -> User | None:
        """Return some user, or None when there are none yet."""
        return await self.users.find_one({})

    async def session(self, session_id: str) -> Session | None:
        """Return a session that has not expired."""
        return await self.sessions.find_one({"_id": session_id, "expires_at": {"$gt": utcnow()}})

    async def token_by_hash(self, token_hash: str) -> ApiToken | None:
        """Return a token that has not expired."""
        token = await self.tokens.find_one({"token_hash": token_hash})
        expired = token is not None and token.expires_at is not None and token.expires_at <= utcnow()
        return None if expired else token

    async def token_used(self, token: ApiToken) -> None:
        """Note that a token was used now."""
        await self.tokens.update({"_id": token.id}, {"last_used_at": utcnow()})

    async def open_invite(self, code_hash: str) -> Invite | None:
        """Return an invite that is neither used nor expired."""
        invite = await self.invites.find_one({"code_hash": code_hash, "expires_at": {"$gt": utcnow()}})
        return invite if invite is not None and invite.used_by is None else None

    async def use_invite(self, invite: Invite, user_id: str) -> bool:
        """Use an invite up; False when someone was quicker."""
        changed = await self.invites.update({"_id": invite.id, "used_by": None}, {"used_by": user_id})
        return changed is not None

    async def release_invite(self, invite: Invite, user_id: str) -> None:
        """Give an invite back that `user_id` could not use."""
        await self.invites.update({"_id": invite.id, "used_by": user_id}, {"used_by": None})

    async def collaborations(self, user_id: str) -> list[Collaborator]:
        """Return the models of others that the user works on."""
        return await self.collaborators.find({"user_id": user_id}, limit=1000)

    async def sessions_of(self, user_id: str) -> list[Session]:
        """Return the user's web logins that have not expired, the newest first."""
        return await self.sessions.find({"user_id": user_id, "expires_at": {"$gt": utcnow()}}, limit=1000)

    async def ticket(self, ticket_id: str, purpose: str) -> AccountTicket | None:
        """Return a ticket that has not expired."""
        where = {"_id": ticket_id, "purpose": purpose, "expires_at": {"$gt": utcnow()}}
        return await self.tickets.find_one(where)

    async def use_ticket(self, ticket: AccountTicket) -> bool:
        """Use a ticket up; False when someone was quicker."""
        return await self.tickets.delete({"_id": ticket.id}) == 1

    async def knows_device(self, device_id: str, user_id: str) -> bool:
        """Say whether the user logged in with that browser before."""
        where = {"_id": device_id, "user_id": user_id, "expires_at": {"$gt": utcnow()}}
        return await self.devices.find_one(where) is not None

    async def end_sessions(self, user_id: str, but: str = "") -> None:
        """End the user's web logins, all but the one with the id `but`."""
        await self.sessions.delete({"user_id": user_id, "_id": {"$ne": but}})

    async def sweep(self) -> None:
        """Delete sessions, tickets and known devices that have expired."""
        expired = {"expires_at": {"$lt": utcnow()}}
        await self.sessions.delete(expired)
        await self.tickets.delete(expired)
        await self.devices.delete(expired)
