"""The trainer's database calls: it writes trials, their metrics, samples and checkpoints."""

from __future__ import annotations

import contextlib
from typing import Any

from vitrine_common.clock import after, utcnow
from vitrine_common.documents import (
    Build,
    Checkpoint,
    MetricPoint,
    ResourceSample,
    TrainRequest,
    Trial,
)
from vitrine_common.errors import Conflict
from vitrine_common.leases import WorkQueue
from vitrine_common.messages import BuildStart, EnvironmentRequest, Message, TrainStart, TrialFinished
from vitrine_common.states import TRIAL, Reason, TrialState
from vitrine_common.store import Database
from vitrine_common.telemetry import metrics

_FORGOTTEN = 100
OPEN = [state for state in TrialState if not TRIAL.is_final(state)]


class Trials:
    """Trials as documents that wait for their environment, are claimed, and end with `trial.finished`."""

    def __init__(self, database: Database, holder: str, lease_seconds: float) -> None:
        self._trials = database.collection(Trial)
        self._requests = database.collection(TrainRequest)
        self._builds = database.collection(Build)
        self._points = database.collection(MetricPoint)
        self._samples = database.collection(ResourceSample)
        self._checkpoints = database.collection(Checkpoint)
        self.queue: WorkQueue[Trial] = WorkQueue(self._trials, TRIAL, holder, lease_seconds)

    async def request(self, trial_id: str) -> TrainRequest:
        """Return what was asked for; raises NotFound."""
        return await self._requests.get(trial_id)

    async def erase(self, trial_id: str) -> None:
        """Delete a training that is gone, and everything recorded of it."""
        for parts in (self._points, self._samples, self._checkpoints):
            await parts.delete({"trial_id": trial_id})
        await self._trials.delete({"_id": trial_id})

    async def forgotten(self, older: float, younger: float) -> list[str]:
        """Return ids of requests made between so many seconds ago that have no trial: nobody took them in."""
        window = {"created_at": {"$gt": after(-older), "$lt": after(-younger)}}
        requests = await self._requests.find(window, (("created_at", 1),), limit=_FORGOTTEN)
        known = await self._trials.find({"_id": {"$in": [request.id for request in requests]}})
        return [r.id for r in requests if r.id not in {trial.id for trial in known}]

    async def get(self, trial_id: str) -> Trial:
        """Return the trial; raises NotFound."""
        return await self._trials.get(trial_id)

    async def add(self, trial: Trial) -> None:
        """Write a trial down; asking again changes nothing."""
        with contextlib.suppress(Conflict):
            await self._trials.insert(trial)

    async def prepare(self, trial_id: str, build_id: str, request: EnvironmentRequest) -> None:
        """Ask for the environment of a queued trial."""
        await self.queue.settle(
            trial_id,
            TrialState.QUEUED,
            TrialState.PREPARING,
            {"build_id": build_id, "environment_digest": ""},
            [BuildStart(build_id=build_id, request=request)],
        )

    async def environment_ready(self, build_id: str, environment_digest: str) -> int:
        """Let the trials that wait for this build begin; return how many."""
        waiting = await self._waiting(build_id)
        for trial in waiting:
            await self._trials.update(
                {"_id": trial.id, "state": TrialState.PREPARING}, {"environment_digest": environment_digest}
            )
        return len(waiting)

    async def environment_failed(self, build_id: str) -> None:
        """End the trials that wait for this build, with its reason."""
        build = await self._builds.get(build_id)
        message = build.problem.message if build.problem else "the environment cannot be made"
        for trial in await self._waiting(build_id):
            await self.end(trial, TrialState.FAILED, Reason.BUILD_FAILED, message)

    async def _waiting(self, build_id: str) -> list[Trial]:
        return await self._trials.find({"build_id": build_id, "state": TrialState.PREPARING})

    async def startable(self, limit: int) -> list[Trial]:
        """Return trials whose environment is there, the oldest first."""
        where = {"state": TrialState.PREPARING, "environment_digest": {"$gt": ""}}
        return await self._trials.find(where, (("created_at", 1),), limit)

    async def waiting_builds(self) -> list[Build]:
        """Return ended builds that trials still wait for: their fact was lost or came early."""
        trials = await self._trials.find({"state": TrialState.PREPARING, "environment_digest": ""})
        return await self._builds.find(
            {"_id": {"$in": [t.build_id for t in trials]}, "state": {"$in": ["succeeded", "failed"]}}
        )

    async def end(self, trial: Trial, state: TrialState, reason: Reason, message: str) -> Trial | None:
        """End a trial that nobody holds; None when it has moved on."""
        return await self.queue.settle(
            trial.id,
            trial.state,
            state,
            {"reason": reason, "message": message, "finished_at": utcnow()},
            [TrialFinished(trial_id=trial.id, state=state, reason=reason)],
        )

    async def ask_to_cancel(self, trial_id: str) -> None:
        """Write the wish down, so that whoever holds the trial sees it at the next heartbeat."""
        await self._trials.update({"_id": trial_id, "state": {"$in": OPEN}}, {"cancel_requested": True})

    async def finish(
        self, trial: Trial, state: TrialState, changes: dict[str, Any], facts: list[Message]
    ) -> None:
        """End a trial that this process holds; raises StaleState when it no longer does."""
        await self.queue.advance(trial, state, {**changes, "finished_at": utcnow()}, facts)
        metrics.count("vitrine_trials", state=state.value)

    async def give_back(self, trial: Trial) -> None:
        """Let another trainer begin the trial anew; this claim does not count."""
        await self.queue.advance(trial, TrialState.PREPARING, {"attempt": trial.attempt - 1})

    async def requeue(self, trial: Trial, max_attempts: int) -> None:
        """Begin a trial anew whose trainer died, or give it up after `max_attempts`."""
        if trial.attempt >= max_attempts:
            sentence = f"the trainer died {trial.attempt} times over this trial; tell the operator"
            await self.end(trial, TrialState.FAILED, Reason.PLATFORM_ERROR, sentence)
        else:
            wake = [TrainStart(trial_id=trial.id)]
            await self.queue.settle(trial.id, TrialState.RUNNING, TrialState.PREPARING, messages=wake)

    async def add_point(
        self, trial: Trial, sequence: int, step: float | None, values: dict[str, float]
    ) -> None:
        """Store metrics of one step; storing them again changes nothing."""
        point = MetricPoint(
            id=f"{trial.id}:{trial.attempt}:{sequence:08d}",
            trial_id=trial.id,
            attempt=trial.attempt,
            sequence=sequence,
            step=step,
            values=values,
        )
        with contextlib.suppress(Conflict):
            await self._points.insert(point)

    async def add_sample(self, sample: ResourceSample) -> None:
        """Store a resource sample."""
        await self._samples.insert(sample)

    async def add_checkpoint(self, trial: Trial, path: str, digest: str, size: int) -> None:
        """Store where a checkpoint's bytes are; an equal one is known already."""
        checkpoint = Checkpoint(
            id=f"{trial.id}:{digest}:{path}", trial_id=trial.id, path=path, digest=digest, size=size
        )
        with contextlib.suppress(Conflict):
            await self._checkpoints.insert(checkpoint)
