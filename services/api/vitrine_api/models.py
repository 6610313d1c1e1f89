"""Models and versions to read: by reference, by id, in lists."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vitrine_api.policy import Action, Member, Principal, Relation, relation, require
from vitrine_api.repository import MAX_PAGE, Bundles, Page, Sort, page_of
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import Manifest
from vitrine_common.documents import Model, Version
from vitrine_common.errors import Conflict, Invalid, NotFound

MAX_MANIFEST_BYTES = 64 << 20
_REFERENCE = re.compile(r"([^/@\s]+)/([^/@\s]+?)(?:@([^/@\s]+))?")
_NUMBER = re.compile(r"\d{1,9}")
_DIGEST_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Reference:
    """`owner/model@version`; version is a number, a digest prefix or `latest`."""

    owner: str
    model: str
    version: str = LATEST

    def __str__(self) -> str:
        return f"{self.owner}/{self.model}@{self.version}"


def parse_reference(text: str) -> Reference:
    """Read a reference. Raises Invalid."""
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        raise Invalid(f"`{text[:100]}` is no version reference; write `owner/model@version`")
    return Reference(match[1], match[2], match[3] or LATEST)


class Models:
    """Reads models and versions for a principal; what is not theirs does not exist for them."""

    def __init__(self, bundles: Bundles, blobs: BlobStore) -> None:
        self._bundles = bundles
        self._blobs = blobs

    async def page(self, member: Member, limit: int, after: str | None) -> Page[Model]:
        """Return the member's models."""
        require(member, Action.SEE, None)
        return await page_of(self._bundles.models, {"owner_id": member.id}, limit, after)

    async def found(
        self, member: Member, words: str, sort: Sort, limit: int, after: str | None
    ) -> Page[tuple[Model, Version | None]]:
        """Return the member's models whose names contain `words`, each with its newest version."""
        require(member, Action.SEE, None)
        page = await self._bundles.found(member.id, words, sort, max(1, min(limit, MAX_PAGE)), after)
        newest = await self._bundles.newest_of(page.items)
        return Page([(model, newest.get(model.id)) for model in page.items], page.next)

    async def model(self, principal: Principal, owner: str, name: str) -> Model:
        """Return a model. Raises NotFound."""
        model = await self._bundles.model(owner, name)
        if model is None or relation(principal, model) is Relation.STRANGER:
            raise NotFound(f"there is no model {owner}/{name}, or it is not yours to see")
        require(principal, Action.SEE, model)
        return model

    async def versions(
        self, principal: Principal, model: Model, limit: int, after: str | None
    ) -> Page[Version]:
        """Return a model's versions."""
        require(principal, Action.SEE, model)
        return await page_of(self._bundles.versions, {"model_id": model.id}, limit, after)

    async def latest(self, model: Model) -> Version | None:
        """Return the newest version that is ready, else the newest."""
        return await self._bundles.latest(model.id)

    async def version(self, principal: Principal, reference: Reference) -> Version:
        """Return the version that `reference` names. Raises NotFound, Conflict for an ambiguous prefix."""
        model = await self.model(principal, reference.owner, reference.model)
        version = await self._find(model, reference.version)
        if version is None:
            raise NotFound(
                f"there is no version {reference}; look at the versions of {model.owner}/{model.name}"
            )
        require(principal, Action.SEE, version)
        return version

    async def _find(self, model: Model, name: str) -> Version | None:
        if name == LATEST:
            return await self._bundles.latest(model.id)
        if _NUMBER.fullmatch(name):
            numbered = await self._bundles.version(model_id=model.id, number=int(name))
            if numbered is not None:
                return numbered
        match = _DIGEST_PREFIX.fullmatch(name)
        if match is None:
            return None
        found = await self._bundles.version_by_digest_prefix(model.id, match[1])
        if len(found) > 1:
            raise Conflict(f"several versions have digests that begin with {name}; write more of it")
        return found[0] if found else None

    async def version_by_id(self, principal: Principal, version_id: str) -> Version:
        """Return a version. Raises NotFound."""
        version = await self._bundles.versions.get(version_id)
        require(principal, Action.SEE, version)
        return version

    async def versions_by_ids(self, ids: list[str]) -> dict[str, Version]:
        """Return versions by id, for lists whose entries were checked already."""
        return await self._bundles.versions_by_ids(ids)

    async def manifest(self, version: Version) -> Manifest:
        """Return the manifest of a version that was checked already."""
        return Manifest.model_validate_json(await self._blobs.get_bytes(version.digest, MAX_MANIFEST_BYTES))
