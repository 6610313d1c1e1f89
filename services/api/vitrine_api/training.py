"""Trainings: accepted durably, followed, cancelled. The trials are the trainer's to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitrine_api.grants import Grants
from vitrine_api.manifests import check_present, read_bundle, store_manifest
from vitrine_api.policy import Action, Member, require
from vitrine_api.progress import Follower, Hub
from vitrine_api.repository import Page, Repository, page_of
from vitrine_api.settings import ApiSettings
from vitrine_api.versions import check_model_name
from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus
from vitrine_common.clock import after
from vitrine_common.documents import Checkpoint, MetricPoint, ResourceSample, TrainRequest, Trial, Version
from vitrine_common.errors import Invalid, Problem
from vitrine_common.ids import new_id, sibling_id
from vitrine_common.messages import TrainCancel, TrainStart
from vitrine_common.states import TRIAL, TrialState, VersionState
from vitrine_common.telemetry import inject

_REGISTERING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A request, what became of it so far, and the version that was registered, if any."""

    request: TrainRequest
    trial: Trial | None
    version: Version | None = None

    @property
    def state(self) -> TrialState:
        """Where it stands; queued while no trainer has taken note of it."""
        return self.trial.state if self.trial else TrialState.QUEUED

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return TRIAL.is_final(self.state)

    @property
    def settled(self) -> bool:
        """Whether it has ended and the version that it registered, if any, can be run or failed to build."""
        if not self.final or self.trial is None or self.trial.version_id is None:
            return self.final
        if self.version is not None:
            return self.version.state in {VersionState.READY, VersionState.BUILD_FAILED}
        # Registering takes milliseconds; a version that was refused must not be waited for without end.
        return (self.trial.finished_at or self.trial.updated_at) < after(-_REGISTERING_SECONDS)


class Training:
    """Takes training requests and reads what became of them."""

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        repository: Repository,
        blobs: BlobStore,
        bus: Bus,
        hub: Hub,
        settings: ApiSettings,
        grants: Grants,
    ) -> None:
        self._grants = grants
        self._repository = repository
        self._trials = repository.trials
        self._blobs = blobs
        self._bus = bus
        self._hub = hub
        self._settings = settings

    async def start(self, member: Member, raw: Any, name: str | None, *, register: bool) -> TrialRecord:
        """Accept a training; stored, with its command, when this returns. Raises BundleError, SpecError."""
        require(member, Action.CHANGE, None)
        bundle = read_bundle(raw, runnable=False)
        if bundle.spec.train is None:
            message = "is missing; write `train: {command: python train.py, outputs: [...]}`"
            raise Invalid(f"train: {message}", (Problem("train", message),))
        await check_present(self._repository.bundles, member.id, bundle.manifest)
        digest, size = await store_manifest(self._blobs, bundle.manifest)
        await self._grants.grant(member.id, digest, size)
        request = TrainRequest(
            id=new_id("trial"),
            owner_id=member.id,
            owner=member.user.name,
            model=check_model_name(name or bundle.spec.name),
            manifest_digest=digest,
            register_version=register,
            trace=inject(),
        )
        await self._trials.requests.insert(request, [TrainStart(trial_id=request.id)])
        return TrialRecord(request, None)

    async def get(self, member: Member, trial_id: str) -> TrialRecord:
        """Return a training. Raises NotFound."""
        request = await self._trials.requests.get(trial_id)
        require(member, Action.SEE, request)
        trial = await self._trials.trial(trial_id)
        return TrialRecord(request, trial, await self._version(trial))

    async def _version(self, trial: Trial | None) -> Version | None:
        """Return the registered version; by digest where the same model had been there before."""
        if trial is None or trial.version_id is None:
            return None
        by_id = await self._repository.bundles.version(_id=trial.version_id)
        if by_id is not None or trial.version_digest is None:
            return by_id
        return await self._repository.bundles.version(
            owner_id=trial.owner_id, model=trial.model, digest=trial.version_digest
        )

    async def page(self, member: Member, limit: int, after: str | None) -> Page[TrialRecord]:
        """Return the member's trainings."""
        require(member, Action.SEE, None)
        page = await page_of(self._trials.requests, {"owner_id": member.id}, limit, after)
        trials = await self._trials.trials(request.id for request in page.items)
        ids = [trial.version_id for trial in trials.values() if trial.version_id]
        versions = await self._repository.bundles.versions_by_ids(ids)
        return Page([_record(request, trials, versions) for request in page.items], page.next)

    async def metrics(
        self, member: Member, trial_id: str, limit: int, after: str | None
    ) -> Page[MetricPoint]:
        """Return what the trial logged, oldest first."""
        await self.get(member, trial_id)
        return await page_of(self._trials.metrics, {"trial_id": trial_id}, limit, after, newest_first=False)

    async def samples(
        self, member: Member, trial_id: str, limit: int, after: str | None
    ) -> Page[ResourceSample]:
        """Return what the trial used, second by second, oldest first."""
        await self.get(member, trial_id)
        return await page_of(self._trials.samples, {"trial_id": trial_id}, limit, after, newest_first=False)

    async def checkpoints(self, member: Member, trial_id: str) -> list[Checkpoint]:
        """Return the trial's checkpoints, oldest first."""
        await self.get(member, trial_id)
        return await self._trials.checkpoints(trial_id)

    def follow(self, member: Member, trial_id: str) -> Follower[TrialRecord]:
        """Return a follower of a trial, up to the end of the build of what it registered."""

        async def read() -> TrialRecord:
            return await self.get(member, trial_id)

        return Follower(
            hub=self._hub,
            ids=(trial_id, sibling_id("version", trial_id)),
            read=read,
            mark=lambda record: record.state,
            is_final=lambda record: record.settled,
            recheck_seconds=self._settings.recheck_seconds,
        )

    async def cancel(self, member: Member, trial_id: str) -> TrialRecord:
        """Ask the trainer to stop a trial; one that has ended stays as it is."""
        record = await self.get(member, trial_id)
        require(member, Action.CHANGE, record.request)
        if not record.final:
            await self._bus.send(TrainCancel(trial_id=trial_id))
        return record


def _record(request: TrainRequest, trials: dict[str, Trial], versions: dict[str, Version]) -> TrialRecord:
    trial = trials.get(request.id)
    return TrialRecord(request, trial, versions.get(trial.version_id or "") if trial else None)
