"""Taking trials in: written down, given an environment to wait for, or called off."""

from __future__ import annotations

import asyncio
import logging

from vitrine_common.blobs import BlobStore
from vitrine_common.documents import Trial
from vitrine_common.environments import build_request
from vitrine_common.errors import Invalid, NotFound
from vitrine_common.ids import sibling_id
from vitrine_common.materialise import read_manifest
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.spec import Spec
from vitrine_common.states import TRIAL, Reason, TrialState
from vitrine_trainer.repository import Trials
from vitrine_trainer.worker import Worker

log = logging.getLogger(__name__)

CATCH_UP_SECONDS = 60.0
LOOK_BACK_SECONDS = 24 * 3600.0


class Intake:
    """Accepts and cancels trials."""

    def __init__(self, trials: Trials, blobs: BlobStore, worker: Worker) -> None:
        self._trials = trials
        self._blobs = blobs
        self._worker = worker

    async def accept(self, trial_id: str) -> None:
        """Write a trial down and ask the builder for its environment; asking again changes nothing.

        Raises NotFound when there is no such request.
        """
        request = await self._trials.request(trial_id)
        await self._trials.add(
            Trial(
                id=trial_id,
                owner_id=request.owner_id,
                owner=request.owner,
                model=request.model,
                source_digest=request.manifest_digest,
            )
        )
        trial = await self._trials.get(trial_id)
        if trial.state is TrialState.QUEUED:
            await self._prepare(trial)
        self._worker.wake()

    async def catch_up_forever(self) -> None:
        """Take in, until cancelled, what no message tells of any more."""
        while True:
            await asyncio.sleep(CATCH_UP_SECONDS)
            try:
                for trial_id in await self._trials.forgotten(LOOK_BACK_SECONDS, CATCH_UP_SECONDS):
                    log.warning("taken in without its message", extra={"trial": trial_id})
                    await self.accept(trial_id)
            except Exception:
                log.exception("forgotten trainings will be looked for again")

    async def _prepare(self, trial: Trial) -> None:
        try:
            environment = await self._environment(trial.source_digest)
        except Invalid as error:
            await self._trials.end(trial, TrialState.FAILED, Reason.USER_ERROR, error.message)
            return
        await self._trials.prepare(trial.id, sibling_id("build", trial.id), environment)

    async def _environment(self, manifest_digest: str) -> EnvironmentRequest:
        manifest = await read_manifest(self._blobs, manifest_digest)
        spec = Spec.model_validate(manifest.spec)
        if spec.train is None:
            raise Invalid("vitrine.yaml has no `train:` section; add one with the training's command")
        return build_request(spec.train_environment_request(), manifest)

    async def cancel(self, trial_id: str) -> None:
        """End a waiting trial; let whoever holds a running one know. Ended or unknown: nothing happens."""
        try:
            trial = await self._trials.get(trial_id)
        except NotFound:
            return
        if TRIAL.is_final(trial.state):
            return
        waits = trial.state is not TrialState.RUNNING
        ended = waits and await self._trials.end(trial, TrialState.CANCELLED, Reason.CANCELLED, "cancelled")
        if not ended:
            await self._trials.ask_to_cancel(trial_id)
