"""Uploads, models and versions, and what the builder made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from vitrine_api.repository.paging import Page, Where, by_ids, page_of
from vitrine_common.clock import utcnow
from vitrine_common.documents import BlobGrant, Build, BuildProblem, Environment, Model, Upload, User, Version
from vitrine_common.errors import Conflict
from vitrine_common.ids import new_id
from vitrine_common.messages import Message
from vitrine_common.states import VERSION, VersionState
from vitrine_common.store import Database

Sort = Literal["updated", "created", "name"]


class Bundles:
    """Uploads, grants, models and versions; builds and environments to read."""

    def __init__(self, database: Database) -> None:
        self.uploads = database.collection(Upload)
        self.models = database.collection(Model)
        self.versions = database.collection(Version)
        self.blob_grants = database.collection(BlobGrant)
        self._builds = database.collection(Build)
        self._environments = database.collection(Environment)

    async def grants(self, user_id: str, digests: Iterable[str]) -> dict[str, int]:
        """Return the sizes of those digests that count as present for the user."""
        found = await by_ids(self.blob_grants, (f"{user_id}:{digest}" for digest in digests))
        return {grant.digest: grant.size for grant in found.values()}

    async def grant(self, user_id: str, digest: str, size: int) -> bool:
        """Let a digest count as present for the user; False when it did already."""
        grant_id = f"{user_id}:{digest}"
        if await self.blob_grants.find_one({"_id": grant_id}) is not None:
            return False
        try:
            await self.blob_grants.insert(BlobGrant(id=grant_id, user_id=user_id, digest=digest, size=size))
        except Conflict:
            return False  # a request at the same time granted it
        return True

    async def model(self, owner: str, name: str) -> Model | None:
        """Return the model, or None."""
        return await self.models.find_one({"owner": owner, "name": name})

    async def model_for(self, user: User, name: str, description: str) -> Model:
        """Return the user's model of that name, made if there is none."""
        where = {"owner_id": user.id, "name": name}
        found = await self.models.find_one(where)
        if found is not None:
            return found
        model = Model(
            id=new_id("model"), owner_id=user.id, owner=user.name, name=name, description=description
        )
        try:
            return await self.models.insert(model)
        except Conflict:
            found = await self.models.find_one(where)
            if found is None:
                raise
            return found

    async def found(
        self, owner_id: str, words: str, sort: Sort, limit: int, after: str | None
    ) -> Page[Model]:
        """Return the owner's models whose names contain `words`."""
        where: dict[str, Any] = {"owner_id": owner_id}
        named = {"$regex": re.escape(words.lower())} if words else {}
        if sort != "name":
            where |= {"name": named} if named else {}
            return await page_of(self.models, where, limit, after, by=f"{sort}_at")
        if after is not None:
            named["$gt"] = after
        where |= {"name": named} if named else {}
        found = await self.models.find(where, (("name", 1),), limit + 1)
        return Page(found[:limit], found[limit - 1].name if len(found) > limit else None)

    async def newest_of(self, models: Iterable[Model]) -> dict[str, Version]:
        """Return the newest version of each model by the model's id, in one query for nearly all."""
        listed = list(models)
        known = await self.versions_by_ids(model.newest_id for model in listed if model.newest_id)
        found: dict[str, Version] = {}
        for model in listed:
            version = known.get(model.newest_id) or await self.latest(model.id)
            if version is not None:
                found[model.id] = version
        return found

    async def newest_number(self, model_id: str) -> int:
        """Return the number of the model's newest version; 0 for a model that is gone."""
        model = await self.models.find_one({"_id": model_id})
        return 0 if model is None else model.last_number

    async def failed_builds(self, owner_id: str, limit: int) -> list[Version]:
        """Return the owner's newest versions whose environment could not be made."""
        where = {"owner_id": owner_id, "state": VersionState.BUILD_FAILED}
        return await self.versions.find(where, limit=limit)

    async def next_number(self, model: Model, description: str, version_id: str) -> int:
        """Return the number of the model's next version; no number is given twice."""
        changes = {"description": description, "updated_at": utcnow(), "newest_id": version_id}
        changed = await self.models.require({"_id": model.id}, changes, increments={"last_number": 1})
        return changed.last_number

    async def version(self, **where: Any) -> Version | None:
        """Return a version by its fields, or None."""
        return await self.versions.find_one(where)

    async def version_before(self, version: Version) -> Version | None:
        """Return the version of the same model that came before, or None."""
        where = {"model_id": version.model_id, "number": {"$lt": version.number}}
        return await self.versions.find_one(where, (("number", -1),))

    async def version_by_digest_prefix(self, model_id: str, prefix: str) -> list[Version]:
        """Return up to two versions whose digest begins so."""
        end = prefix + "g"  # sorts behind every hexadecimal digit
        where = {"model_id": model_id, "digest": {"$gte": f"sha256:{prefix}", "$lt": f"sha256:{end}"}}
        return await self.versions.find(where, (("digest", 1),), 2)

    async def latest(self, model_id: str) -> Version | None:
        """Return the newest version that is ready, else the newest."""
        order = (("number", -1),)
        ready = await self.versions.find_one({"model_id": model_id, "state": VersionState.READY}, order)
        return ready or await self.versions.find_one({"model_id": model_id}, order)

    async def waiting_for(self, build_id: str) -> list[Version]:
        """Return the versions that a build's end concerns."""
        return await self.versions.find({"build_id": build_id, "state": VersionState.BUILDING})

    async def advance(
        self, version: Version, target: VersionState, changes: Where, messages: Sequence[Message]
    ) -> Version | None:
        """Move a version on; None when it has moved on already (compare-and-set on state and build)."""
        where = {"_id": version.id, "build_id": version.build_id, "state": {"$in": VERSION.sources(target)}}
        written = {**changes, "state": target, "updated_at": utcnow()}
        return await self.versions.update(where, written, messages=messages)

    async def versions_by_ids(self, ids: Iterable[str]) -> dict[str, Version]:
        """Return versions by id."""
        return await by_ids(self.versions, ids)

    async def build(self, build_id: str) -> Build | None:
        """Return the build, or None."""
        return await self._builds.find_one({"_id": build_id})

    async def build_problem(self, build_id: str) -> BuildProblem | None:
        """Return why a build failed, where the builder has written it down."""
        build = await self.build(build_id)
        return None if build is None else build.problem

    async def environments_use(self) -> tuple[int, int]:
        """Return how many environments there are, and their bytes, each counted by itself."""
        count = size = 0
        async for environment in self._environments.each({}):
            count, size = count + 1, size + environment.size_bytes
        return count, size

    async def environment(self, digest: str) -> Environment | None:
        """Return the environment, or None."""
        return await self._environments.find_one({"_id": digest})

    async def expired_uploads(self) -> list[Upload]:
        """Return uploads that nobody completed in time."""
        return await self.uploads.find({"expires_at": {"$lt": utcnow()}}, (("expires_at", 1),))
