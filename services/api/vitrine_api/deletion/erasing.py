"""Carrying out deletions: step by step, each step idempotent, until nothing is left anywhere.

What is in use is stopped first. Then the digests of what is to go are written down for the collector, then
the api's own documents go, then the other services are told to delete theirs; a deletion is done when a
look at their collections finds nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from vitrine_api.deletion.collecting import Collecting
from vitrine_api.deletion.manifests import Manifests
from vitrine_api.deletion.tombstones import Tombstones
from vitrine_api.links import Links
from vitrine_api.mail import FolderMailer, Mailer
from vitrine_api.quotas import Quotas
from vitrine_api.repository.erasure import Deletions, Erasure, digests_in
from vitrine_api.uploads import Uploads
from vitrine_common.bus import Bus
from vitrine_common.clock import after, utcnow
from vitrine_common.documents import (
    AccountTicket,
    AccountUse,
    ApiToken,
    AuditEntry,
    BlobGrant,
    Build,
    BuildCharge,
    Checkpoint,
    ClaimCheck,
    ClaimCheckRequest,
    Collaborator,
    Dataset,
    DatasetVersion,
    Deletion,
    Document,
    Identity,
    Invite,
    KnownDevice,
    LinkPass,
    Mail,
    MetricPoint,
    Model,
    Notification,
    NotificationWishes,
    Receipt,
    ResourceSample,
    Run,
    RunHook,
    RunRequest,
    ScoringRecord,
    Session,
    ShareLink,
    TrainRequest,
    Trial,
    Upload,
    User,
    Venue,
    VenueProbe,
    VenueReview,
    VenueReviewer,
    VenueSubmission,
    Version,
    Webhook,
    WebhookDelivery,
)
from vitrine_common.ids import new_id
from vitrine_common.messages import (
    ClaimCancel,
    FilesForgotten,
    LinkDeleted,
    RunCancel,
    TrainCancel,
    TrialDeleted,
    VersionDeleted,
)
from vitrine_common.states import CLAIM_CHECK, RUN, TRIAL

log = logging.getLogger(__name__)

_LEASE_SECONDS = 120.0
_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 5.0


class Erasing:
    """Carries deletions out.

    Args:
        deletions: what is wished.
        erasure: the documents.
        collecting: takes the digests of what goes.
        tombstones: keeps what was deleted.
        links: ends links.
        manifests: which files versions and datasets have.
        uploads: drops what was being sent.
        quotas: counts storage again.
        bus: tells runners and trainers to stop.
        mailer: forgets mails, where they are files.
    """

    def __init__(  # noqa: PLR0917 - everything that anything can be in
        self,
        deletions: Deletions,
        erasure: Erasure,
        collecting: Collecting,
        tombstones: Tombstones,
        links: Links,
        manifests: Manifests,
        uploads: Uploads,
        quotas: Quotas,
        bus: Bus,
        mailer: Mailer,
    ) -> None:
        self._deletions = deletions
        self._erasure = erasure
        self._collecting = collecting
        self._tombstones = tombstones
        self._links = links
        self._manifests = manifests
        self._uploads = uploads
        self._quotas = quotas
        self._bus = bus
        self._mailer = mailer
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look for deletions now."""
        self._news.set()

    async def forever(self) -> None:
        """Carry out what is wished, as soon as it is, and collect what nothing refers to."""
        await self._tombstones.apply()
        while True:
            self._news.clear()
            try:
                open_ = await self.carry_out()
                await self._collecting.collect()
            except Exception:
                log.exception("deletions will be tried again")
                open_ = True
            try:
                async with asyncio.timeout(_AGAIN_SECONDS if open_ else _LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def carry_out(self) -> bool:
        """Work once on every deletion that is due; say whether any is not done yet."""
        unfinished = False
        for deletion in await self._deletions.due():
            claimed = await self._deletions.claim(deletion, _LEASE_SECONDS)
            if claimed is None:
                continue
            done = await getattr(self, f"_{claimed.kind}")(claimed)
            changes: Mapping[str, Any] = {"done": True} if done else {"due_at": after(_AGAIN_SECONDS)}
            await self._deletions.settle(claimed, changes)
            unfinished |= not done
        return unfinished

    async def begin(self, kind: str, subject_id: str, owner_id: str, **facts: str) -> Deletion:
        """Write a wish down, in the file of tombstones, too. Idempotent."""
        deletion = Deletion.model_validate(
            {"_id": new_id("deletion"), "kind": kind, "subject_id": subject_id, "owner_id": owner_id, **facts}
        )
        there = await self._deletions.of(subject_id)
        if there is None:
            await self._tombstones.write(deletion)
        elif not there.done:
            return there
        deletion = await self._deletions.add(deletion)
        self.wake()
        return deletion

    async def _version(self, deletion: Deletion) -> bool:
        where = {"version_id": deletion.subject_id}
        for link in await self._erasure.all_of(ShareLink, where):
            await self._links.end(link, deletion.owner_id)
        if not await self._stopped(where):
            return False
        version = await self._one(Version, deletion.subject_id)
        if version is not None:
            await self._forget_told(version.owner_id, version.reference)
            await self._release(version.owner_id, await self._manifests.files(version.digest), version.id)
        await self._doom_work(where)
        for link in await self._erasure.all_of(ShareLink, where):
            await self._erasure.delete({"link_id": link.id}, LinkPass)
        for submission in await self._erasure.all_of(VenueSubmission, where):
            await self._erasure.delete({"submission_id": submission.id}, VenueReview, VenueProbe)
        for hook in await self._erasure.all_of(RunHook, where):
            await self._erasure.delete({"webhook_id": hook.lane, "run_id": hook.id}, WebhookDelivery)
        await self._erasure.delete(
            where, RunHook, RunRequest, ClaimCheckRequest, Receipt, ShareLink, VenueSubmission
        )
        await self._erasure.delete({"_id": deletion.build_id}, BuildCharge)
        # Last of its own: whatever was cut short before finds it again by what it says.
        await self._erasure.delete({"_id": deletion.subject_id}, Version)
        await self._quotas.recount_storage(deletion.owner_id)
        if await self._left(where, RunRequest, ClaimCheckRequest):
            return False  # asked for while the version still stood there
        if not await self._left(where, Run, ClaimCheck, ScoringRecord) and not await self._left(
            {"_id": deletion.build_id}, Build
        ):
            if deletion.version_digest and not await self._left({"digest": deletion.version_digest}, Version):
                await self._bus.tell(FilesForgotten(digests=[deletion.version_digest]))
            return True
        told = VersionDeleted(version_id=deletion.subject_id, build_id=deletion.build_id)
        await self._deletions.tell(deletion, [told])
        return False

    async def _link(self, deletion: Deletion) -> bool:
        where = {"link_id": deletion.subject_id}
        link = await self._one(ShareLink, deletion.subject_id)
        if link is not None:
            await self._links.end(link, deletion.owner_id)
        if not await self._stopped(where):
            return False
        await self._doom_work(where)
        await self._erasure.delete(where, RunRequest, ClaimCheckRequest, Receipt, LinkPass, VenueReview)
        await self._erasure.delete({"_id": deletion.subject_id}, ShareLink)
        if not await self._left(where, Run, ClaimCheck, ScoringRecord):
            return True
        await self._deletions.tell(deletion, [LinkDeleted(link_id=deletion.subject_id)])
        return False

    async def _model(self, deletion: Deletion) -> bool:
        model_id = deletion.subject_id
        children = await self._versions({"model_id": model_id})
        model = await self._one(Model, model_id)
        if model is not None:
            if not await self._trainings({"owner_id": model.owner_id, "model": model.name}, deletion):
                return False
            await self._forget_told(model.owner_id, f"{model.owner}/{model.name}")
        await self._erasure.delete({"model_id": model_id}, Collaborator, Invite)
        if children or await self._left({"model_id": model_id}, Version):
            return False
        await self._erasure.delete({"_id": model_id}, Model)
        return True

    async def _dataset(self, deletion: Deletion) -> bool:
        dataset_id = deletion.subject_id
        for version in await self._erasure.all_of(DatasetVersion, {"dataset_id": dataset_id}):
            files = await self._manifests.files(version.digest)
            await self._release(deletion.owner_id, files, version.id)
            await self._erasure.delete({"_id": version.id}, DatasetVersion)
            await self._bus.tell(FilesForgotten(digests=[version.digest]))
        await self._erasure.delete({"_id": dataset_id}, Dataset)
        await self._quotas.recount_storage(deletion.owner_id)
        return True

    async def _account(self, deletion: Deletion) -> bool:
        user_id = deletion.subject_id
        own, owned = {"user_id": user_id}, {"owner_id": user_id}
        # First nobody gets in any more, by whatever was handed out.
        await self._erasure.delete(own, Session, Identity, ApiToken, AccountTicket, KnownDevice)
        for model in await self._erasure.all_of(Model, owned):
            await self.begin("model", model.id, user_id)
        for dataset in await self._erasure.all_of(Dataset, owned):
            await self.begin("dataset", dataset.id, user_id)
        await self._versions(owned)
        trained = await self._trainings(owned, deletion)
        waits = [await self._left(owned, Model, Dataset, Version, RunRequest, ClaimCheckRequest, ShareLink)]
        if not trained or any(waits):
            return False
        await self._collecting.doom([grant.digest for grant in await self._erasure.all_of(BlobGrant, own)])
        for upload in await self._erasure.all_of(Upload, own):
            await self._uploads.drop(upload)
        await self._erasure.delete(
            own,
            BlobGrant,
            Notification,
            NotificationWishes,
            Webhook,
            RunHook,
            WebhookDelivery,
            AccountUse,
            BuildCharge,
        )
        await self._erasure.delete(own, Collaborator)
        await self._erasure.delete(owned, Collaborator, AuditEntry, Receipt)
        await self._erasure.delete({"_id": user_id}, NotificationWishes)
        await self._erasure.delete({"invited_by": user_id}, Invite)
        await self._erasure.delete(
            {"chair_id": user_id}, Venue, VenueSubmission, VenueReviewer, VenueReview, VenueProbe
        )
        user = await self._one(User, user_id)
        if user is not None:
            await self._forget_address(user.email)
        await self._erasure.delete({"_id": user_id}, User)
        return True

    async def _forget_address(self, email: str) -> None:
        await self._erasure.delete({"to": email}, Mail)
        await self._erasure.delete({"email": email}, Invite)
        if isinstance(self._mailer, FolderMailer):
            await asyncio.to_thread(self._mailer.forget, email)

    async def _versions(self, where: Mapping[str, Any]) -> bool:
        """Begin to delete versions; say whether there were any."""
        versions = await self._erasure.all_of(Version, where)
        for version in versions:
            facts = {"version_digest": version.digest, "build_id": version.build_id or ""}
            await self.begin("version", version.id, version.owner_id, **facts)
        return bool(versions)

    async def _trainings(self, where: Mapping[str, Any], deletion: Deletion) -> bool:
        """Stop and delete trainings; False while some are left."""
        clean = True
        for request in await self._erasure.all_of(TrainRequest, where):
            trial = await self._one(Trial, request.id)
            if trial is not None and not TRIAL.is_final(trial.state):
                await self._bus.send(TrainCancel(trial_id=request.id))
                clean = False
                continue
            digests = await self._manifests.files(request.manifest_digest)
            for checkpoint in await self._erasure.all_of(Checkpoint, {"trial_id": request.id}):
                digests |= digests_in(checkpoint)
            digests |= digests_in(trial) if trial else set()
            await self._release(request.owner_id, digests, request.id)
            parts = [
                await self._left({"trial_id": request.id}, MetricPoint, ResourceSample, Checkpoint),
                trial is not None,
            ]
            if any(parts):
                await self._deletions.tell(deletion, [TrialDeleted(trial_id=request.id)])
                clean = False
                continue
            await self._erasure.delete({"_id": request.id}, TrainRequest)
        return clean

    async def _stopped(self, where: Mapping[str, Any]) -> bool:
        """Ask what waits or works to stop; say whether nothing does any more."""
        stopped, now = True, utcnow()
        for request in await self._erasure.all_of(RunRequest, where):
            run = await self._one(Run, request.id)
            if (run is None and request.expires_at > now) or (
                run is not None and not RUN.is_final(run.state)
            ):
                await self._bus.send(RunCancel(run_id=request.id))
                stopped = False
        for asked in await self._erasure.all_of(ClaimCheckRequest, where):
            check = await self._one(ClaimCheck, asked.id)
            waits = check is None and asked.expires_at > now
            if waits or (check is not None and not CLAIM_CHECK.is_final(check.state)):
                await self._bus.send(ClaimCancel(check_id=asked.id))
                stopped = False
        return stopped

    async def _doom_work(self, where: Mapping[str, Any]) -> None:
        """Have the bytes of inputs and outputs collected. Written down before the documents go."""
        kinds: tuple[type[Document], ...] = (RunRequest, Run, ClaimCheckRequest, ClaimCheck)
        for kind in kinds:
            for item in await self._erasure.all_of(kind, where):
                await self._collecting.doom(digests_in(item))

    async def _release(self, user_id: str, digests: set[str], but_id: str) -> None:
        """Take grants back that nothing else of the account needs, and have the bytes collected."""
        await self._collecting.doom(digests)
        needed = await self._manifests.needed_by(user_id, but_id)
        for digest in digests - needed:
            await self._erasure.delete({"_id": f"{user_id}:{digest}"}, BlobGrant)

    async def _forget_told(self, user_id: str, reference: str) -> None:
        user = await self._one(User, user_id)
        if user is not None:
            await self._erasure.delete_mentions(user_id, user.email, [reference])

    async def _left(self, where: Mapping[str, Any], *documents: type[Document]) -> bool:
        for document in documents:
            if await self._erasure.any_of(document, where):
                return True
        return False

    async def _one(self, document: type[Any], document_id: str) -> Any:
        found = await self._erasure.all_of(document, {"_id": document_id})
        return found[0] if found else None
