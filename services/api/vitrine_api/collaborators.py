"""Who works on a model beside its owner: asked by an invite, let go by either."""

from __future__ import annotations

from vitrine_api import audit
from vitrine_api.notifications.news import News, Notices
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Repository
from vitrine_common.documents import Collaborator, Invite, Model, User
from vitrine_common.errors import Conflict, NotFound


class Collaborators:
    """Lists, adds and removes collaborators. What they may do is the policy's to say."""

    def __init__(self, repository: Repository, notices: Notices) -> None:
        self._accounts = repository.accounts
        self._bundles = repository.bundles
        self._notices = notices

    async def of(self, member: Member, model: Model) -> list[Collaborator]:
        """Return who works on a model; for its owner."""
        require(member, Action.CHANGE, model)
        return await self._accounts.collaborators.find({"model_id": model.id}, limit=1000)

    async def works_on(self, member: Member) -> list[Collaborator]:
        """Return the models of others that the member works on."""
        require(member, Action.SEE, None)
        return await self._accounts.collaborations(member.id)

    async def join(self, invite: Invite, user: User) -> None:
        """Let an account work on the model of an invite that it used. Idempotent."""
        model = await self._bundles.models.find_one({"_id": invite.model_id})
        if model is None or model.owner_id == user.id:
            return
        joined = Collaborator(
            id=f"{model.id}:{user.id}",
            model_id=model.id,
            model=f"{model.owner}/{model.name}",
            owner_id=model.owner_id,
            user_id=user.id,
            name=user.name,
        )
        try:
            await self._accounts.collaborators.insert(joined)
        except Conflict:
            return
        await audit.record(self._accounts, user.id, "collaborator.joined", joined)
        await self._notices.tell(
            News(
                user_id=model.owner_id,
                kind="invite.accepted",
                key=invite.id,
                title=f"{user.name} now works on {joined.model}",
                path=f"/models/{joined.model}/collaborators",
                data={"model": joined.model, "name": user.name},
            )
        )

    async def remove(self, member: Member, model: Model, name: str) -> None:
        """Let a collaborator go, by the owner or by themselves. Raises NotFound."""
        found = await self._accounts.collaborators.find_one({"model_id": model.id, "name": name})
        if found is None or found.user_id != member.id:
            require(member, Action.CHANGE, model)
        if found is None:
            raise NotFound(f"{name} does not work on {model.owner}/{model.name}")
        await self._accounts.collaborators.delete({"_id": found.id})
        await audit.record(self._accounts, member, "collaborator.removed", found)
