"""Deletion reaches everything: every collection, S3, mails in the folder; and what is shared stays."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from api_instance import Account, Instance, manifest, problem
from claims_on_api import finish_check, push_dataset
from vitrine_api.deletion import Collecting, Tombstones
from vitrine_api.repository.erasure import Deletions, Doomed
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import (
    Build,
    Deletion,
    MetricPoint,
    Output,
    Run,
    RunRequest,
    ScoringRecord,
    Trial,
    Version,
)
from vitrine_common.errors import Unavailable
from vitrine_common.messages import (
    EnvironmentRequest,
    LinkDeleted,
    Message,
    TrialDeleted,
    VersionDeleted,
)
from vitrine_common.states import BuildState, RunState, TrialState
from vitrine_common.store import Database
from vitrine_monitor.repository import ScoringRepository
from vitrine_runner.repository import Checks, Runs
from vitrine_trainer.repository import Trials

TOLD: list[Message] = []


@pytest.fixture(autouse=True)
def _told(api: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what other services are told; none of them runs here, so the tests do what they would do."""
    TOLD.clear()
    deletions: Any = api.services.erasing._deletions
    tell = deletions.tell

    async def noted(claimed: Deletion, said: Sequence[Message]) -> None:
        await tell(claimed, said)
        TOLD.extend(said)

    monkeypatch.setattr(deletions, "tell", noted)


async def others_erase(databases: dict[str, Database]) -> None:
    """What the other services do when they hear of a deletion, by their own code."""
    runner = databases["runner"]
    runs, checks = Runs(runner, "runner", 10, 3), Checks(runner, "runner", 10, 3)
    scores = ScoringRepository(databases["monitor"])
    trials = Trials(databases["trainer"], "trainer", 10)
    while TOLD:
        match TOLD.pop():
            case VersionDeleted(version_id=version_id, build_id=build_id):
                where = {"version_id": version_id}
                await databases["builder"].collection(Build).delete({"_id": build_id})
            case LinkDeleted(link_id=link_id):
                where = {"link_id": link_id}
            case TrialDeleted(trial_id=trial_id):
                await trials.erase(trial_id)
                continue
        await runs.erase(**where)
        await checks.erase(**where)
        await scores.erase(**where)


async def settled(api: Instance, subject_id: str) -> None:
    deletions = Deletions(api.platform.database)
    databases = {name: api.database_as(name) for name in ("runner", "trainer", "monitor", "builder")}
    for _ in range(150):
        found = await deletions.of(subject_id)
        if found is not None and found.done:
            await asyncio.sleep(0.6)  # what was looked at while it was under way is due again
            await api.services.collecting.collect()
            return
        await others_erase(databases)
        await asyncio.sleep(0.1)
    undone = await deletions.deletions.find({"done": {"$in": [False, 0]}}, limit=20)
    raise AssertionError(f"not done: {[(item.kind, item.subject_id, item.lease_token) for item in undone]}")


async def everything(api: Instance) -> str:
    """Every document of every collection, and every object of the bucket with its name."""
    raw: Any = api.platform.database._raw
    texts = []
    for name in await raw.list_collection_names():
        texts += [f"{name}: {item}" async for item in raw[name].find({})]
    store: Any = api.platform.blobs

    def objects() -> list[str]:
        found = []
        for item in store._client.list_objects(store._bucket, recursive=True):
            body = store._client.get_object(store._bucket, item.object_name).read()
            found.append(f"{item.object_name}: {body.decode(errors='replace')}")
        return found

    return "\n".join(texts + await asyncio.to_thread(objects))


async def used_in_every_way(api: Instance, account: Account, marker: str) -> dict[str, Any]:
    """A version with runs by its owner and by link, a dataset, a check, a training, a build: all marked."""
    files = {"echo.py": f"print('{marker}')\n".encode(), "a.png": marker.encode()}
    await account.upload(files)
    spec = {
        **manifest()["spec"],
        "description": marker,
        "train": {"command": "python echo.py"},
        "claims": [
            {"name": "speed", "statement": marker, "command": "python echo.py", "metric": "ms", "expected": 3}
        ],
    }
    name = f"m-{marker}"
    body = {"manifest": manifest(spec, files), "model": name}
    version = (await account.client.post("/api/v1/versions", json=body)).json()
    build = Build(
        id=version["build_id"],
        request=EnvironmentRequest(python="3.11", requirements=[marker]),
        state=BuildState.SUCCEEDED,
    )
    await api.database_as("builder").collection(Build).insert(build)
    await api.services.versions.build_succeeded(version["build_id"], sha256_bytes(b"environment"))
    link = await account.share(version["reference"], label=marker)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    started = await account.client.post(
        path,
        files={"input.image": ("a.png", b"\x89PNG\r\n\x1a\n" + marker.encode(), "image/png")},
        data={"webhook": f"http://1.1.1.1/{marker}"},
    )
    assert started.status_code == 202, started.text
    by_link = await api.client().post(
        f"/api/v1/links/{link['token']}/runs", json={"inputs": {"text": marker}}
    )
    for answer in (started, by_link):
        digest = await api.platform.blobs.put_bytes(f"out {answer.json()['id']} {marker}".encode())
        output = Output(name="text", type="file", digest=digest, size=1, filename=marker)
        run = await api.finish(answer.json()["id"], [output], log_tail=marker)
        await api.services.run_hooks.finished(run, f"{marker} {version['reference']}")
        record = ScoringRecord(
            id=answer.json()["id"],
            version_id=version["id"],
            version_digest=version["digest"],
            outcome=RunState.SUCCEEDED,
            finished_at=utcnow(),
            raw_inputs=marker,
        )
        await api.database_as("monitor").collection(ScoringRecord).insert(record)
    check = await account.client.post(
        "/api/v1/claims/checks", json={"ref": version["reference"], "claim": "speed"}
    )
    await finish_check(api, check.json()["id"], (3.0,))
    await push_dataset(account, f"d-{marker}")
    trained = await account.client.post(
        "/api/v1/trainings", json={"manifest": manifest(spec, files), "model": name}
    )
    assert trained.status_code == 202, trained.text
    trainer = api.database_as("trainer")
    trial = Trial(
        id=trained.json()["id"],
        owner_id=account.id,
        owner=account.name,
        model=name,
        source_digest=trained.json()["source_digest"],
        state=TrialState.SUCCEEDED,
        log_tail=marker,
        log_digest=await api.platform.blobs.put_bytes(f"log {marker}".encode()),
        finished_at=utcnow(),
    )
    await trainer.collection(Trial).insert(trial)
    point = MetricPoint(id=f"{trial.id}:1:1", trial_id=trial.id, attempt=1, sequence=1, values={marker: 1.0})
    await trainer.collection(MetricPoint).insert(point)
    hook = {"url": f"https://example.org/{marker}"}
    await account.client.post("/api/v1/webhooks", json=hook)
    await account.client.post("/api/v1/tokens", json={"label": marker})
    await api.services.credentials.forgot(account.email)
    return {**version, "link": link, "runs": [started.json()["id"], by_link.json()["id"]]}


async def test_nothing_of_a_deleted_account_is_left_in_any_collection_or_in_s3(api: Instance) -> None:
    account, other = await api.account(), await api.account()
    marker = f"mark{secrets.token_hex(8)}"
    await used_in_every_way(api, account, marker)
    theirs = await api.ready(other)
    words = [marker, account.name, account.email]
    before = await everything(api)
    assert all(word in before for word in words)
    assert before.count(marker) > 20
    wish = {"confirm": account.name, "password": account.password}
    assert (
        await account.client.post("/api/v1/account/deletion", json={**wish, "password": "x"})
    ).status_code == 422
    assert (await account.client.post("/api/v1/account/deletion", json=wish)).status_code == 202
    await settled(api, account.id)
    left = [line for line in (await everything(api)).splitlines() if any(word in line for word in words)]
    assert left == []
    folder = api.services.settings.mail_dir
    assert not [file for file in folder.iterdir() if account.email in file.read_text()]
    assert (await account.client.get("/api/v1/whoami")).status_code == 401
    # What others have stays, with the bytes that were the same.
    assert (await other.client.get(f"/api/v1/versions/{theirs['id']}")).status_code == 200
    for item in manifest()["files"]:
        assert await api.platform.blobs.exists(item["digest"])


async def test_a_version_goes_and_what_its_siblings_need_stays(api: Instance) -> None:
    account = await api.account()
    marker = f"mark{secrets.token_hex(8)}"
    shared, own = marker.encode() * 2, b"own " + marker.encode()
    await account.upload({"echo.py": shared, "a.png": own, "b.png": b"other"})
    versions = []
    for files in ({"echo.py": shared, "a.png": own}, {"echo.py": shared, "a.png": b"other"}):
        body = {"manifest": manifest(files=files), "model": "family"}
        versions.append((await account.client.post("/api/v1/versions", json=body)).json())
    wish = {"kind": "version", "reference": versions[0]["reference"]}
    refused = await account.client.post("/api/v1/deletions", json={**wish, "confirm": "family"})
    assert problem(refused, 422)["errors"][0]["field"] == "confirm"
    stranger = await api.account()
    confirmed = {**wish, "confirm": wish["reference"]}
    assert (await stranger.client.post("/api/v1/deletions", json=confirmed)).status_code == 404
    asked = await account.client.post("/api/v1/deletions", json=confirmed)
    assert asked.status_code == 202
    await settled(api, versions[0]["id"])
    told = await account.client.get(f"/api/v1/deletions/{asked.json()['id']}")
    assert told.json()["done"] is True
    blobs = api.platform.blobs
    assert not await blobs.exists(sha256_bytes(own))
    assert not await blobs.exists(versions[0]["digest"])
    assert await blobs.exists(sha256_bytes(shared))
    assert (await account.client.get(f"/api/v1/versions/{versions[0]['id']}")).status_code == 404
    assert (await account.client.get(f"/api/v1/versions/{versions[1]['id']}")).status_code == 200
    # What is gone has to be sent again.
    missing = {"blobs": [{"digest": sha256_bytes(own), "size": len(own)}]}
    assert len((await account.client.post("/api/v1/blobs/missing", json=missing)).json()["missing"]) == 1


async def test_running_work_is_stopped_before_its_version_goes(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    run = (await account.client.post(path, json={"inputs": {}})).json()
    wish = {"kind": "version", "reference": version["reference"], "confirm": version["reference"]}
    assert (await account.client.post("/api/v1/deletions", json=wish)).status_code == 202
    for _ in range(4):
        await api.services.erasing.carry_out()
    # Nobody has stopped it yet, and so it is all still there.
    requests = api.platform.database.collection(RunRequest)
    assert await requests.find_one({"_id": run["id"]}) is not None
    runner = Runs(api.database_as("runner"), "runner", 10, 3)
    await runner.cancel(await runner.request(run["id"]))
    await settled(api, version["id"])
    assert await requests.find_one({"_id": run["id"]}) is None
    assert await api.database_as("runner").collection(Run).find_one({"_id": run["id"]}) is None


async def test_a_link_goes_with_its_runs_and_the_model_stays(api: Instance) -> None:
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(version["reference"])
    sent = f"words {secrets.token_hex(8)}"
    run = await api.client().post(f"/api/v1/links/{link['token']}/runs", json={"inputs": {"text": sent}})
    await api.finish(run.json()["id"])
    wish = {"kind": "link", "reference": link["id"], "confirm": link["id"]}
    assert (await account.client.post("/api/v1/deletions", json=wish)).status_code == 202
    await settled(api, link["id"])
    assert sent not in await everything(api)
    assert (await api.client().get(f"/api/v1/links/{link['token']}")).status_code == 404
    assert (await account.client.get(f"/api/v1/versions/{version['id']}")).status_code == 200


async def test_a_deletion_goes_on_wherever_it_was_cut_short(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await api.account()
    marker = f"mark{secrets.token_hex(8)}"
    version = await used_in_every_way(api, account, marker)
    reference = version["reference"].partition("@")[0]
    erasure, steps = api.services.erasing._erasure, 0
    # Further and further apart, so that every step but the last is cut short once.
    kills = {number * (number + 1) // 2 for number in range(1, 40)}
    real = erasure.delete

    async def cut_short(where: Any, *documents: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in kills:
            raise Unavailable("the process was killed here")
        await real(where, *documents)

    monkeypatch.setattr(erasure, "delete", cut_short)
    # A lease of a killed process ends by itself; here it does at once.
    monkeypatch.setattr("vitrine_api.deletion.erasing._LEASE_SECONDS", -1.0)
    wish = {"kind": "model", "reference": reference, "confirm": reference}
    assert (await account.client.post("/api/v1/deletions", json=wish)).status_code == 202
    model = (await api.services.repository.bundles.models.find({"owner_id": account.id}))[0]
    await settled(api, model.id)
    assert steps > 6
    left = await everything(api)
    assert f"m-{marker}" not in left
    assert f"print('{marker}')" not in left


async def test_what_is_granted_meanwhile_is_not_collected(api: Instance) -> None:
    account = await api.account()
    data = secrets.token_bytes(30)
    digest = await api.platform.blobs.put_bytes(data)
    doomed = Doomed(api.platform.database)
    collecting = Collecting(doomed, api.platform.blobs, 3600)
    await collecting.doom([digest])
    assert (await account.client.put("/api/v1/blobs", content=data)).status_code == 201
    assert await collecting.collect() == 0
    assert await api.platform.blobs.exists(digest)
    # A blob that is leaving is granted to nobody: the sender is told to send it again.
    other = secrets.token_bytes(30)
    leaving = await api.platform.blobs.put_bytes(other)
    await collecting.doom([leaving])
    (blob,) = await doomed._blobs.find({"_id": leaving})
    assert await doomed.leave(blob)
    assert (await account.client.put("/api/v1/blobs", content=other)).status_code == 503
    await api.platform.blobs.delete(leaving)
    await doomed.settle(blob)
    assert (await account.client.put("/api/v1/blobs", content=other)).status_code == 201
    assert await api.platform.blobs.exists(leaving)


async def test_what_a_restore_brings_back_is_deleted_again(api: Instance, tmp_path: Path) -> None:
    account = await api.account()
    version = await api.ready(account)
    versions = api.platform.database.collection(Version)
    backup = await versions.get(version["id"])
    wish = {"kind": "version", "reference": version["reference"], "confirm": version["reference"]}
    assert (await account.client.post("/api/v1/deletions", json=wish)).status_code == 202
    await settled(api, version["id"])
    deletions = Deletions(api.platform.database)
    # The restore of a backup from before: the version is there, that it was deleted is not known.
    await versions.insert(backup)
    await deletions.deletions.delete({"subject_id": version["id"]})
    file = api.services.settings.tombstone_file
    assert file is not None
    assert account.name not in file.read_text()
    file.write_text(file.read_text() + '{"id": "cut sho')
    assert await Tombstones(deletions, file).apply() >= 1
    await settled(api, version["id"])
    assert await versions.find_one({"_id": version["id"]}) is None
    assert await Tombstones(deletions, tmp_path / "none").apply() == 0


async def test_the_only_operator_cannot_leave(api: Instance) -> None:
    operator = api.operator
    wish = {"confirm": operator.name, "password": operator.password}
    problem(await operator.client.post("/api/v1/account/deletion", json=wish), 409)
    assert await api.platform.database.collection(Deletion).find_one({"subject_id": operator.id}) is None
