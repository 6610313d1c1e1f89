"""Wishes to delete: looked up, allowed, confirmed by name, and written down for the task."""

from __future__ import annotations

from vitrine_api import audit
from vitrine_api.claims.repository import Datasets as DatasetRepository
from vitrine_api.deletion.erasing import Erasing
from vitrine_api.models import Models, parse_reference
from vitrine_api.passwords import Passwords
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Repository
from vitrine_api.repository.erasure import Deletions
from vitrine_common.documents import Deletion, DeletionKind, User
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem


class Deleting:
    """Takes wishes to delete.

    Args:
        repository: what can be deleted.
        datasets: datasets by name.
        models: models and versions by reference.
        deletions: the wishes.
        erasing: carries them out.
        passwords: an account is deleted with its password alone.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        repository: Repository,
        datasets: DatasetRepository,
        models: Models,
        deletions: Deletions,
        erasing: Erasing,
        passwords: Passwords,
    ) -> None:
        self._repository = repository
        self._datasets = datasets
        self._models = models
        self._deletions = deletions
        self._erasing = erasing
        self._passwords = passwords

    async def delete(self, member: Member, kind: DeletionKind, reference: str, confirm: str) -> Deletion:
        """Have something deleted for good; its work stops at once, its traces go soon after.

        Args:
            member: whose it is.
            kind: what it is.
            reference: `owner/model`, `owner/model@version`, `owner/dataset`, or a link's id.
            confirm: `reference` once more, typed by whoever wants it.

        Raises Invalid unless it is confirmed, NotFound, Denied.
        """
        if confirm.strip() != reference:
            raise _unconfirmed(reference)
        match kind:
            case "version":
                return await self._version(member, reference)
            case "model":
                return await self._model(member, reference)
            case "dataset":
                return await self._dataset(member, reference)
            case "link":
                return await self._link(member, reference)
        raise Invalid("kind: an account is deleted at /api/v1/account")

    async def delete_account(self, member: Member, confirm: str, password: str) -> Deletion:
        """Have the account deleted with all it owns. Raises Invalid, Conflict for the last operator."""
        require(member, Action.CHANGE, None)
        if confirm.strip() != member.user.name:
            raise _unconfirmed(member.user.name)
        hashed = member.user.password_hash
        # Without a password, by a provider's login alone, the name that was typed has to do.
        if hashed and not await self._passwords.verify(password, hashed):
            raise Invalid("password: is wrong", (Problem("password", "is wrong"),))
        operators = await self._repository.accounts.users.find({"operator": {"$in": [True, 1]}}, limit=2)
        if member.user.operator and len(operators) < 2:
            raise Conflict("you are the only operator; make somebody else one first")
        return await self.account(member.user)

    async def account(self, user: User) -> Deletion:
        """Have an account deleted; whether anybody may was decided before."""
        return await self._erasing.begin("account", user.id, user.id)

    async def get(self, member: Member, deletion_id: str) -> Deletion:
        """Return a deletion. Raises NotFound."""
        found = await self._deletions.deletions.get(deletion_id)
        require(member, Action.SEE, found)
        return found

    async def _version(self, member: Member, reference: str) -> Deletion:
        version = await self._models.version(member, parse_reference(reference))
        require(member, Action.CHANGE, version)
        await audit.record(self._repository.accounts, member, "version.deleted", version)
        facts = {"version_digest": version.digest, "build_id": version.build_id or ""}
        return await self._erasing.begin("version", version.id, version.owner_id, **facts)

    async def _model(self, member: Member, reference: str) -> Deletion:
        parsed = parse_reference(reference)
        model = await self._models.model(member, parsed.owner, parsed.model)
        require(member, Action.CHANGE, model)
        await audit.record(self._repository.accounts, member, "model.deleted", model)
        return await self._erasing.begin("model", model.id, model.owner_id)

    async def _dataset(self, member: Member, reference: str) -> Deletion:
        owner, _, name = reference.rpartition("/")
        found = await self._datasets.dataset(member.id, name) if owner in {"", member.user.name} else None
        if found is None:
            raise NotFound(f"there is no dataset {reference}, or it is not yours to see")
        require(member, Action.CHANGE, found)
        await audit.record(self._repository.accounts, member, "dataset.deleted", found)
        return await self._erasing.begin("dataset", found.id, found.owner_id)

    async def _link(self, member: Member, link_id: str) -> Deletion:
        link = await self._repository.links.links.get(link_id)
        require(member, Action.CHANGE, link)
        await audit.record(self._repository.accounts, member, "link.deleted", link)
        return await self._erasing.begin("link", link.id, link.owner_id)


def _unconfirmed(name: str) -> Invalid:
    message = f"does not match; type `{name}` to delete it for good"
    return Invalid(f"confirm: {message}", (Problem("confirm", message),))
