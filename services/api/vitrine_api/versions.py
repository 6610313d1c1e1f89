"""Versions: coming to be, waiting for their environment, being ready or not."""

from __future__ import annotations

import logging
import re
from typing import Any

from vitrine_api import audit
from vitrine_api.claims.datasets import Datasets
from vitrine_api.grants import Grants
from vitrine_api.manifests import Bundle, check_present, load_bundle, read_bundle, store_manifest
from vitrine_api.policy import Action, Member, allows, require
from vitrine_api.quotas import Quotas
from vitrine_api.repository import Repository
from vitrine_common.blobs import BlobStore
from vitrine_common.clock import utcnow
from vitrine_common.documents import BuildProblem, Lineage, Model, User, Version
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem
from vitrine_common.ids import new_id
from vitrine_common.messages import BuildStart, VersionBuildFailed, VersionReady
from vitrine_common.spec.model import MODEL_NAME
from vitrine_common.states import VersionState

log = logging.getLogger(__name__)


class Versions:
    """Makes versions of manifests and moves them through `states.VERSION`."""

    def __init__(
        self, repository: Repository, blobs: BlobStore, datasets: Datasets, grants: Grants, quotas: Quotas
    ) -> None:
        self._grants = grants
        self._quotas = quotas
        self._datasets = datasets
        self._repository = repository
        self._bundles = repository.bundles
        self._blobs = blobs

    async def create(
        self, member: Member, raw: Any, name: str | None, *, refresh: bool = False
    ) -> tuple[Version, bool]:
        """Return the version of a manifest, and whether it is new.

        The same manifest under the same name is the same version; one whose build failed is built again.
        With `refresh`, a build asks the package indexes again for what they said before.
        `owner/model` as the name pushes to somebody else's model, as its collaborator.
        Raises BundleError, SpecError, Invalid, NotFound.
        """
        require(member, Action.CHANGE, None)
        bundle = read_bundle(raw, runnable=True)
        theirs = await self._of_another(member, name)
        model_name = check_model_name(bundle.spec.name if name is None else name.rpartition("/")[2])
        await check_present(self._bundles, member.id, bundle.manifest)
        await self._datasets.check_claims(member.id, bundle.spec)
        digest, size = await store_manifest(self._blobs, bundle.manifest)
        await self._grants.grant(member.id, digest, size)
        if theirs is not None:
            await self._grant_owner(theirs, bundle, digest, size)
        model = theirs or await self._bundles.model_for(
            member.user, model_name, bundle.spec.description or ""
        )
        version, is_new = await self._insert(new_id("version"), model, bundle, digest, None, refresh=refresh)
        if version.state is VersionState.BUILD_FAILED:
            version = await self._rebuild(version, bundle, refresh=refresh)
        return version, is_new

    async def _of_another(self, member: Member, name: str | None) -> Model | None:
        """Return the model of somebody else that `owner/model` names; None for one's own. Raises NotFound."""
        owner, _, model_name = (name or "").rpartition("/")
        if not owner or owner == member.user.name:
            return None
        model = await self._bundles.model(owner, model_name)
        if model is None or not allows(member, Action.SEE, model):
            raise NotFound(f"there is no model {owner}/{model_name}, or it is not yours to see")
        require(member, Action.PUSH, model)
        return model

    async def _grant_owner(self, model: Model, bundle: Bundle, digest: str, size: int) -> None:
        """Let what a collaborator brought count as present for the model's owner."""
        owner = await self._repository.accounts.users.get(model.owner_id)
        await self._grants.grant(owner.id, digest, size)
        await self._grant_all(owner, bundle)

    async def register(self, version_id: str, manifest_digest: str, trial_id: str) -> None:
        """Make a version of what a trial made. Idempotent by `version_id`.

        Raises NotFound for an unknown trial, Invalid for a manifest that cannot be a version.
        """
        if await self._bundles.version(_id=version_id) is not None:
            return
        request = await self._repository.trials.requests.get(trial_id)
        user = await self._repository.accounts.user(request.owner_id)
        if user is None:
            raise NotFound(f"there is no user {request.owner_id}")
        bundle = await load_bundle(self._blobs, manifest_digest)
        await self._grant_all(user, bundle)
        model = await self._bundles.model_for(user, request.model, bundle.spec.description or "")
        lineage = await self._lineage(trial_id, request.manifest_digest)
        version, is_new = await self._insert(version_id, model, bundle, manifest_digest, lineage)
        if not is_new:
            log.info("trained what was there already", extra={"trial": trial_id, "version": version.id})

    async def _lineage(self, trial_id: str, source_digest: str) -> Lineage:
        trial = await self._repository.trials.trial(trial_id)
        return Lineage(
            trial_id=trial_id,
            source_digest=source_digest,
            environment_digest=(trial.environment_digest if trial else None) or "",
            metrics=trial.metrics if trial else {},
        )

    async def _grant_all(self, user: User, bundle: Bundle) -> None:
        """Let what a trial made for its owner count as present for them."""
        sizes = {entry.digest: entry.size for entry in bundle.manifest.files}
        present = await self._bundles.grants(user.id, sizes)
        for digest, size in sizes.items():
            if digest not in present:
                await self._grants.grant(user.id, digest, size, forced=True)

    async def _insert(
        self,
        version_id: str,
        model: Model,
        bundle: Bundle,
        digest: str,
        lineage: Lineage | None,
        *,
        refresh: bool = False,
    ) -> tuple[Version, bool]:
        """Store a version together with the command that has its environment built."""
        there = await self._bundles.version(model_id=model.id, digest=digest)
        if there is not None:
            return there, False
        start = _build(bundle, refresh=refresh)
        # What was trained here is registered in any case: its trial has ended well.
        await self._quotas.begin_build(model.owner_id, start.build_id, forced=lineage is not None)
        version = Version(
            id=version_id,
            model_id=model.id,
            owner_id=model.owner_id,
            owner=model.owner,
            model=model.name,
            number=await self._bundles.next_number(model, bundle.spec.description or "", version_id),
            digest=digest,
            spec=bundle.manifest.spec,
            file_count=len(bundle.manifest.files),
            total_bytes=bundle.manifest.total_bytes,
            state=VersionState.BUILDING,
            updated_at=utcnow(),
            build_id=start.build_id,
            warnings=bundle.warnings,
            lineage=lineage,
        )
        try:
            await self._bundles.versions.insert(version, [start])
        except OverflowError:
            await self._quotas.end_build(start.build_id, 0)
            message = "has a number beyond 64 bits, which cannot be stored; write it as text"
            raise Invalid(f"spec: {message}", (Problem("spec", message),)) from None
        except Conflict:
            await self._quotas.end_build(start.build_id, 0)
            there = await self._bundles.version(model_id=model.id, digest=digest)
            if there is None:
                raise
            return there, False
        await audit.record(self._repository.accounts, model.owner_id, "version.created", version)
        return version, True

    async def _rebuild(self, version: Version, bundle: Bundle, *, refresh: bool) -> Version:
        start = _build(bundle, refresh=refresh)
        await self._quotas.begin_build(version.owner_id, start.build_id)
        changes = {"build_id": start.build_id, "build_problem": None}
        building = await self._bundles.advance(version, VersionState.BUILDING, changes, [start])
        if building is None:  # another push was quicker, and its build serves this one as well
            await self._quotas.end_build(start.build_id, 0)
        return building or await self._bundles.versions.get(version.id)

    async def build_succeeded(self, build_id: str, environment_digest: str) -> None:
        """Make every version that waits for the build ready. Idempotent."""
        await self._settle(build_id)
        for version in await self._bundles.waiting_for(build_id):
            ready = VersionReady(
                version_id=version.id,
                version_digest=version.digest,
                environment_digest=environment_digest,
                owner_id=version.owner_id,
            )
            changes = {"environment_digest": environment_digest, "build_problem": None}
            await self._bundles.advance(version, VersionState.READY, changes, [ready])

    async def _settle(self, build_id: str) -> None:
        """Charge the owner what the build took."""
        build = await self._bundles.build(build_id)
        await self._quotas.end_build(build_id, sum(build.timings_ms.values()) / 1000 if build else 0)

    async def build_failed(self, build_id: str, reason: str) -> None:
        """Tell every version that waits for the build why it will not be ready. Idempotent."""
        await self._settle(build_id)
        waiting = await self._bundles.waiting_for(build_id)
        if not waiting:
            return
        problem = await self._bundles.build_problem(build_id)
        problem = problem or BuildProblem(reason=reason, message="the environment could not be made")
        for version in waiting:
            failed = VersionBuildFailed(version_id=version.id)
            changes = {"build_problem": problem}
            await self._bundles.advance(version, VersionState.BUILD_FAILED, changes, [failed])


def check_model_name(name: str) -> str:
    """Return `name` if a model can have it. Raises Invalid."""
    if re.fullmatch(MODEL_NAME, name) is None:
        message = "take lower-case letters, digits, dots, dashes and underscores, such as `my-model`"
        raise Invalid(f"model: {message}", (Problem("model", message),))
    return name


def _build(bundle: Bundle, *, refresh: bool) -> BuildStart:
    request = bundle.environment_request().model_copy(update={"refresh": refresh})
    return BuildStart(build_id=new_id("build"), request=request)
