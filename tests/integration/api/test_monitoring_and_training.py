"""What monitor and trainer wrote, read through the api."""

from __future__ import annotations

from datetime import timedelta

from api_instance import FILES, SPEC, Instance, events_of, manifest, problem
from vitrine_common.clock import utcnow
from vitrine_common.documents import MetricPoint, ResourceSample, ScoringRecord, Trial
from vitrine_common.documents.scoring import OutputSummary
from vitrine_common.ids import new_id
from vitrine_common.states import Reason, RunState, TrialState

TRAINED = {**SPEC, "train": {"command": "python echo.py"}}


async def test_counts_percentiles_and_predictions(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    records = api.database_as("monitor").collection(ScoringRecord)
    for number in range(100):
        label = "seven" if number % 4 else "one"
        summary = OutputSummary(name="digit", type="label", digest="", size=1, prediction=label)
        failed = number < 5
        await records.insert(
            ScoringRecord(
                id=new_id("run"),
                version_id=version["id"],
                version_digest=version["digest"],
                outcome=RunState.FAILED if failed else RunState.SUCCEEDED,
                reason=Reason.TIMEOUT if failed else None,
                cold=number == 0,
                total_ms=float(number + 1),
                outputs=[summary],
                finished_at=utcnow() - timedelta(seconds=number),
                raw_inputs="the reviewer's own words",
            )
        )
    base = f"/api/v1/versions/{version['reference'].replace('@', '/')}"
    told = (await someone.client.get(f"{base}/monitor")).json()
    assert told["outcomes"] == {"succeeded": 95, "failed": 5}
    assert told["reasons"] == {"timeout": 5}
    assert told["latency_ms"]["total"] == {"count": 100, "p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert told["latency_ms"]["compute"] == {"count": 0, "p50": None, "p95": None, "p99": None}
    assert told["predictions"] == {"digit": {"seven": 75, "one": 25}}
    assert (told["cold_starts"], told["window"]["runs"]) == (1, 100)
    assert told["window"]["from"] < told["window"]["to"]
    newest = (await records.find({"version_id": version["id"]}, (("finished_at", -1),), 1))[0]
    await records.insert(newest.model_copy(update={"id": new_id("run"), "finished_at": utcnow()}))
    again = (await someone.client.get(f"{base}/monitor")).json()
    assert again["window"]["runs"] == 101, "another run is told of at once"
    page = await someone.client.get(f"{base}/scoring", params={"limit": 10})
    assert len(page.json()["items"]) == 10
    assert "reviewer" not in page.text


async def test_a_training_is_accepted_followed_and_read(api: Instance) -> None:
    someone = await api.account()
    await someone.upload(FILES)
    body = {"manifest": manifest(TRAINED), "model": "trained-here"}
    accepted = await someone.client.post("/api/v1/trainings", json=body)
    assert accepted.status_code == 202
    trial = accepted.json()
    assert (trial["state"], trial["model"], trial["final"]) == ("queued", "trained-here", False)
    as_trainer = api.database_as("trainer")
    for step in range(3):
        await as_trainer.collection(MetricPoint).insert(
            MetricPoint(
                id=f"{trial['id']}:1:{step}",
                trial_id=trial["id"],
                attempt=1,
                sequence=step,
                step=step,
                values={"loss": 1.0 / (step + 1)},
            )
        )
    await as_trainer.collection(ResourceSample).insert(
        ResourceSample(
            id=f"{trial['id']}:1:0",
            trial_id=trial["id"],
            attempt=1,
            sequence=0,
            cpu_percent=50,
            memory_bytes=1 << 20,
        )
    )
    await as_trainer.collection(Trial).insert(
        Trial(
            id=trial["id"],
            owner_id=someone.id,
            owner=someone.name,
            model="trained-here",
            source_digest=trial["source_digest"],
            state=TrialState.FAILED,
            reason=Reason.USER_ERROR,
            message="it exited with status 1",
            finished_at=utcnow(),
        )
    )
    (event, ended), *_ = events_of((await someone.client.get(trial["events_url"])).text)
    assert (event, ended["state"], ended["message"]) == ("end", "failed", "it exited with status 1")
    metrics = (await someone.client.get(f"{trial['url']}/metrics", params={"limit": 2})).json()
    assert [item["values"]["loss"] for item in metrics["items"]] == [1.0, 0.5]
    rest = await someone.client.get(f"{trial['url']}/metrics", params={"after": metrics["next"]})
    assert [item["step"] for item in rest.json()["items"]] == [2]
    samples = (await someone.client.get(f"{trial['url']}/samples")).json()["items"]
    assert samples[0]["memory_bytes"] == 1 << 20
    assert (await someone.client.post(f"{trial['url']}/cancel")).json()["state"] == "failed"


async def test_a_bundle_that_does_not_say_how_to_train_is_refused_by_name(api: Instance) -> None:
    someone = await api.account()
    answer = problem(await someone.client.post("/api/v1/trainings", json={"manifest": manifest()}), 422)
    assert answer["errors"][0]["field"] == "train"
