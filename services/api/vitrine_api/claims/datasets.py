"""Datasets: pushed by their owner, and named by claims."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vitrine_api import audit
from vitrine_api.claims.repository import Datasets as DatasetRepository
from vitrine_api.grants import Grants
from vitrine_api.manifests import check_present, read_files, store_manifest
from vitrine_api.models import MAX_MANIFEST_BYTES
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Page, Repository, page_of
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import DATASET_SPEC, BundleError, Manifest
from vitrine_common.documents import DatasetVersion
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem
from vitrine_common.ids import new_id
from vitrine_common.spec import DatasetReference, Spec
from vitrine_common.spec.claims import DATASET_NAME

LATEST = "latest"
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Datasets:
    """Makes and reads datasets; what is not one's own does not exist."""

    def __init__(
        self, datasets: DatasetRepository, repository: Repository, blobs: BlobStore, grants: Grants
    ) -> None:
        self._grants = grants
        self._datasets = datasets
        self._bundles = repository.bundles
        self._accounts = repository.accounts
        self._blobs = blobs

    async def create(
        self, member: Member, name: str, files: Any, *, private: bool
    ) -> tuple[DatasetVersion, bool]:
        """Return the version of `files` (as in a manifest), and whether it is new.

        The same files under the same name are the same version, which then is as private as was asked for
        last. Raises BundleError naming each file that is wrong or was not sent, Invalid for the name.
        """
        require(member, Action.CHANGE, None)
        if re.fullmatch(DATASET_NAME, name) is None:
            message = "take lower-case letters, digits, dots, dashes and underscores, such as `my-data`"
            raise Invalid(f"name: {message}", (Problem("name", message),))
        manifest = read_files({"spec": DATASET_SPEC, "files": files})
        if not manifest.files:
            raise Invalid("files: there is none", (Problem("files", "there is none; push at least one"),))
        await check_present(self._bundles, member.id, manifest)
        digest, size = await store_manifest(self._blobs, manifest)
        await self._grants.grant(member.id, digest, size)
        return await self._version(member, name, manifest, digest, private=private)

    async def _version(
        self, member: Member, name: str, manifest: Manifest, digest: str, *, private: bool
    ) -> tuple[DatasetVersion, bool]:
        dataset = await self._datasets.dataset_for(member.user, name)
        there = await self._datasets.by_digest(dataset, digest)
        if there is None:
            version = DatasetVersion(
                id=new_id("datasetversion"),
                dataset_id=dataset.id,
                owner_id=member.id,
                owner=member.user.name,
                name=name,
                number=await self._datasets.next_number(dataset),
                digest=digest,
                file_count=len(manifest.files),
                total_bytes=manifest.total_bytes,
                private=private,
            )
            try:
                await self._datasets.versions.insert(version)
            except Conflict:  # a push at the same time was quicker
                there = await self._datasets.by_digest(dataset, digest)
                if there is None:
                    raise
            else:
                await audit.record(self._accounts, member, "dataset.pushed", version)
                return version, True
        if there.private != private:
            there = await self._datasets.set_private(there, private=private)
        return there, False

    async def page(self, member: Member, limit: int, after: str | None) -> Page[DatasetVersion]:
        """Return the member's datasets, every version, newest first."""
        require(member, Action.SEE, None)
        return await page_of(self._datasets.versions, {"owner_id": member.id}, limit, after)

    async def version(self, member: Member, owner: str, name: str, version: str) -> DatasetVersion:
        """Return a version by number, whole digest or `latest`. Raises NotFound."""
        dataset = await self._datasets.dataset(member.id, name) if owner == member.user.name else None
        found = None
        if dataset is not None:
            if version == LATEST:
                found = await self._datasets.latest(dataset)
            elif _NUMBER.fullmatch(version):
                found = await self._datasets.by_number(dataset, int(version))
            elif _DIGEST.fullmatch(version):
                found = await self._datasets.by_digest(dataset, version)
        if found is None:
            raise NotFound(f"there is no dataset {owner}/{name}@{version}, or it is not yours to see")
        require(member, Action.SEE, found)
        return found

    async def manifest(self, member: Member, version: DatasetVersion) -> Manifest:
        """Return the files of a version."""
        require(member, Action.OPEN, version)
        data = await self._blobs.get_bytes(version.digest, MAX_MANIFEST_BYTES)
        return Manifest.model_validate_json(data)

    async def named(self, owner_id: str, reference: DatasetReference) -> DatasetVersion | None:
        """Return the dataset that a claim of `owner_id` names, or None."""
        dataset = await self._datasets.dataset(owner_id, reference.name)
        if dataset is None:
            return None
        if reference.is_digest:
            return await self._datasets.by_digest(dataset, reference.version)
        return await self._datasets.by_number(dataset, int(reference.version))

    async def all_named(
        self, owner_id: str, references: Sequence[DatasetReference]
    ) -> dict[DatasetReference, DatasetVersion]:
        """Return the datasets that claims of `owner_id` name, by one look; those that lack are left out."""
        if not references:
            return {}
        found = await self._datasets.of_names(owner_id, {reference.name for reference in references})
        known = {(one.name, one.digest): one for one in found}
        known |= {(one.name, str(one.number)): one for one in found}
        keyed = {reference: (reference.name, reference.version) for reference in references}
        return {reference: known[key] for reference, key in keyed.items() if key in known}

    async def check_claims(self, owner_id: str, spec: Spec) -> None:
        """Raise BundleError naming each claim whose dataset its owner has not pushed."""
        problems = []
        for index, claim in enumerate(spec.claims or ()):
            reference = claim.pushed_dataset
            if reference is not None and await self.named(owner_id, reference) is None:
                message = (
                    f"there is no dataset {reference}; push it first: "
                    f"vitrine data push DIR --name {reference.name}"
                )
                problems.append(Problem(f"claims[{index}].dataset", message))
        if problems:
            raise BundleError(problems)
