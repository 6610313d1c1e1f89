"""Training for real: builder and trainer as processes, sandboxes, metrics, checkpoints, kills."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder_desk import Desk
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.clock import after
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import Checkpoint, MetricPoint, ResourceSample, TrainRequest, Trial
from vitrine_common.ids import new_id
from vitrine_common.messages import TrainCancel, TrainStart
from vitrine_common.messages.subjects import COMMANDS
from vitrine_common.settings import MongoSettings
from vitrine_common.states import TRIAL, Reason, TrialState
from vitrine_common.store import Database
from vitrine_trainer.repository import Trials

PATIENCE_SECONDS = 90

TRAIN = """
import vitrine_metrics, json, pathlib, time
for step in range(3):
    vitrine_metrics.log(step=step, loss=1 / (step + 1))
    pathlib.Path(f"epoch-{step}.ckpt").write_text(str(step))
    time.sleep(0.5)
print(json.dumps({"step": 3, "accuracy": 0.97}), flush=True)
pathlib.Path("weights.json").write_text("[1, 2]")
"""


@pytest.fixture(scope="module")
async def training(desk: Desk) -> Desk:
    desk.environment |= {
        "VITRINE_TRAINER_STATE_DIR": str(desk.root / "trainer"),
        "VITRINE_TRAINER_LOOK_SECONDS": "0.2",
        "VITRINE_TRAINER_SAMPLE_SECONDS": "0.3",
        "VITRINE_TRAINER_SLOTS": "2",
        "VITRINE_TRAINER_MAX_ATTEMPTS": "2",
    }
    await desk.start("builder")
    await desk.start("trainer")
    return desk


@pytest.fixture
def fresh_trials(desk: Desk, mongo: MongoSettings) -> Iterator[Trials]:
    database = Database(mongo, "trainer", desk.bus)
    yield Trials(database, "trainer@test:1", lease_seconds=10)
    database.close()


async def begin(desk: Desk, source: str, **train: Any) -> str:
    """Ask for a training of `train.py` with this source; return the trial's id."""
    files = {"train.py": source.encode(), "predict.py": b"print('hello')\n"}
    spec = {
        "name": "tiny",
        "model": {"command": "python predict.py", "input": {"type": "flag"}},
        "train": {"command": "python train.py", "outputs": ["weights.json"], **train},
    }
    entries = [
        FileEntry(path=path, digest=sha256_bytes(data), size=len(data)) for path, data in files.items()
    ]
    for data in files.values():
        await desk.blobs.put_bytes(data)
    manifest = Manifest(spec=spec, files=tuple(entries))
    digest = await desk.blobs.put_bytes(canonical_json(manifest.model_dump(mode="json")))
    trial_id = new_id("trl")
    request = TrainRequest(id=trial_id, owner_id="usr_1", owner="ada", model="tiny", manifest_digest=digest)
    requests = desk.database.collection(TrainRequest)
    await requests.insert(request, [TrainStart(trial_id=trial_id)])
    return trial_id


async def until(desk: Desk, trial_id: str, holds: Callable[[Trial], bool]) -> Trial:
    trials = desk.database.collection(Trial)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            trial = await trials.find_one({"_id": trial_id})
            if trial is not None and holds(trial):
                return trial
            await asyncio.sleep(0.05)


async def ended(desk: Desk, trial_id: str) -> Trial:
    return await until(desk, trial_id, lambda trial: TRIAL.is_final(trial.state))


async def test_a_training_leaves_metrics_checkpoints_samples_and_a_version(training: Desk) -> None:
    trial = await ended(training, await begin(training, TRAIN, checkpoints=["*.ckpt"]))
    assert (trial.state, trial.reason, trial.message) == (TrialState.SUCCEEDED, None, "")
    assert trial.metrics == {"loss": pytest.approx(1 / 3), "accuracy": 0.97}
    assert [output.name for output in trial.outputs] == ["weights.json"]
    assert trial.outputs[0].digest == sha256_bytes(b"[1, 2]")
    points = await training.database.collection(MetricPoint).find({"trial_id": trial.id}, (("_id", 1),))
    assert [point.step for point in points] == [0, 1, 2, 3]
    samples = await training.database.collection(ResourceSample).find({"trial_id": trial.id})
    assert samples
    assert all(sample.memory_bytes > 0 for sample in samples)
    checkpoints = await training.database.collection(Checkpoint).find({"trial_id": trial.id})
    assert {checkpoint.path for checkpoint in checkpoints} == {"epoch-0.ckpt", "epoch-1.ckpt", "epoch-2.ckpt"}
    assert await training.blobs.get_bytes(checkpoints[0].digest, 10) in {b"0", b"1", b"2"}
    assert trial.version_digest is not None
    manifest = json.loads(await training.blobs.get_bytes(trial.version_digest, 1 << 20))
    assert {entry["path"] for entry in manifest["files"]} == {"predict.py", "train.py", "weights.json"}
    command = await training.bus.client.jetstream().get_last_msg(COMMANDS, "version.register")
    assert command.data is not None
    payload = json.loads(command.data)["payload"]
    assert payload == {
        "version_id": trial.version_id,
        "manifest_digest": trial.version_digest,
        "trial_id": trial.id,
    }


async def test_a_program_that_fails_is_the_authors(training: Desk) -> None:
    trial = await ended(training, await begin(training, "raise SystemExit('no data here')"))
    assert (trial.state, trial.reason, trial.exit_code) == (TrialState.FAILED, Reason.USER_ERROR, 1)
    assert "no data here" in trial.log_tail
    assert trial.version_id is None


async def test_a_missing_output_is_named(training: Desk) -> None:
    trial = await ended(training, await begin(training, "print('done')"))
    assert (trial.state, trial.reason) == (TrialState.FAILED, Reason.USER_ERROR)
    assert "weights.json" in trial.message


async def test_a_training_that_takes_too_long_is_stopped(training: Desk) -> None:
    source = "import time; time.sleep(600)"
    trial = await ended(training, await begin(training, source, resources={"timeout": "1s"}))
    assert (trial.state, trial.reason) == (TrialState.FAILED, Reason.TIMEOUT)


async def test_a_gpu_that_is_not_there_is_said_so(training: Desk) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.fail("this machine has a GPU: run the GPU suite instead")
    trial = await ended(training, await begin(training, TRAIN, resources={"gpu": 1}))
    assert (trial.state, trial.reason) == (TrialState.FAILED, Reason.USER_ERROR)
    assert "gpu" in trial.message


async def test_cancel_stops_the_work(training: Desk) -> None:
    trial_id = await begin(training, "import time\nprint('begun', flush=True)\ntime.sleep(600)")
    await until(training, trial_id, lambda trial: trial.state is TrialState.RUNNING)
    await training.bus.send(TrainCancel(trial_id=trial_id))
    trial = await ended(training, trial_id)
    assert (trial.state, trial.reason) == (TrialState.CANCELLED, Reason.CANCELLED)


async def test_a_requirement_that_cannot_be_had_fails_the_trial(training: Desk) -> None:
    trial_id = await begin(training, TRAIN, requirements_file="train.py")
    trial = await ended(training, trial_id)
    assert (trial.state, trial.reason) == (TrialState.FAILED, Reason.BUILD_FAILED)
    assert trial.message


async def test_a_killed_trainer_loses_nothing(training: Desk) -> None:
    trial_id = await begin(training, TRAIN)
    await until(training, trial_id, lambda trial: trial.state is TrialState.RUNNING)
    process = training.processes[-1]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    await training.start("trainer")
    trial = await ended(training, trial_id)
    assert (trial.state, trial.attempt) == (TrialState.SUCCEEDED, 2)


async def test_trainers_that_keep_dying_give_up(training: Desk) -> None:
    trial_id = await begin(training, "import time; time.sleep(600)")
    for attempt in (1, 2):
        await until(training, trial_id, lambda t, n=attempt: t.state is TrialState.RUNNING and t.attempt == n)  # type: ignore[misc]
        process = training.processes[-1]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        await training.start("trainer")
    trial = await ended(training, trial_id)
    assert (trial.state, trial.reason) == (TrialState.FAILED, Reason.PLATFORM_ERROR)
    assert "2 times" in trial.message


async def test_a_request_whose_message_was_lost_is_found(training: Desk, fresh_trials: Trials) -> None:
    requests = training.database.collection(TrainRequest)
    lost = TrainRequest(
        id=new_id("trial"),
        owner_id="usr_1",
        owner="ada",
        model="tiny",
        manifest_digest=sha256_bytes(b"x"),
        created_at=after(-120),
    )
    await requests.insert(lost)
    fresh = lost.model_copy(update={"id": new_id("trial"), "created_at": after(0)})
    await requests.insert(fresh)
    assert await fresh_trials.forgotten(600, 60) == [lost.id]
    assert await fresh_trials.forgotten(600, 180) == []
