"""Versions: what is asked for, what is refused by name, how builds move them."""

from __future__ import annotations

import asyncio

from api_instance import FILES, SPEC, Instance, manifest, problem
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import Build, BuildProblem, TrainRequest, Trial, Version
from vitrine_common.ids import new_id
from vitrine_common.messages import BuildFailed, VersionRegister
from vitrine_common.messages.build import EnvironmentRequest
from vitrine_common.states import BuildState, TrialState


async def test_the_same_manifest_is_the_same_version(api: Instance) -> None:
    someone = await api.account()
    first, again = await someone.push("same"), await someone.push("same")
    assert again["id"] == first["id"]
    other = await someone.push("same", spec={**SPEC, "description": "changed"})
    assert (other["number"], other["digest"] == first["digest"]) == (2, False)
    pushes = await asyncio.gather(*(someone.push("raced") for _ in range(6)))
    assert len({version["id"] for version in pushes}) == 1


async def test_files_that_were_not_sent_are_named_although_somebody_else_has_them(api: Instance) -> None:
    someone, other = await api.account(), await api.account()
    await someone.push()
    answer = problem(await other.client.post("/api/v1/versions", json={"manifest": manifest()}), 422)
    assert {item["field"] for item in answer["errors"]} == set(FILES)
    wanted = [{"digest": sha256_bytes(data), "size": len(data)} for data in FILES.values()]
    missing = await other.client.post("/api/v1/blobs/missing", json={"blobs": wanted})
    assert len(missing.json()["missing"]) == len(FILES)
    missing = await someone.client.post("/api/v1/blobs/missing", json={"blobs": wanted})
    assert missing.json()["missing"] == []


async def test_an_upload_of_other_bytes_is_refused_and_begun_again(api: Instance) -> None:
    someone = await api.account()
    wanted = {"blobs": [{"digest": sha256_bytes(b"right"), "size": 5}]}
    blob = (await someone.client.post("/api/v1/blobs/missing", json=wanted)).json()["missing"][0]
    await api.client().put(blob["parts"][0]["url"], content=b"wrong")
    done = await someone.client.post("/api/v1/blobs/complete", json={"upload_id": blob["upload_id"]})
    assert "not sha256" in problem(done, 422)["detail"]
    assert len((await someone.client.post("/api/v1/blobs/missing", json=wanted)).json()["missing"]) == 1


async def test_completing_twice_after_a_lost_answer_is_no_error(api: Instance) -> None:
    someone = await api.account()
    data = b"a" * 100_000
    wanted = {"blobs": [{"digest": sha256_bytes(data), "size": len(data)}]}
    blob = (await someone.client.post("/api/v1/blobs/missing", json=wanted)).json()["missing"][0]
    await api.client().put(blob["parts"][0]["url"], content=data)
    for _ in range(2):
        done = await someone.client.post("/api/v1/blobs/complete", json={"upload_id": blob["upload_id"]})
        assert done.json() == {"digest": sha256_bytes(data), "size": len(data)}


async def test_references_by_number_digest_and_latest(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone, name="refs")
    digits = version["digest"].removeprefix("sha256:")
    for name in ("1", "latest", digits[:12], version["digest"]):
        found = await someone.client.get(f"/api/v1/versions/{someone.name}/refs/{name}")
        assert found.json()["id"] == version["id"], name
    for name in ("2", "newest", "abc"):
        problem(await someone.client.get(f"/api/v1/versions/{someone.name}/refs/{name}"), 404)
    await someone.push("refs", spec={**SPEC, "description": "not ready"})
    assert (await someone.client.get(f"/api/v1/versions/{someone.name}/refs/latest")).json()["number"] == 1


async def test_a_failed_build_says_why_and_pushing_again_builds_again(api: Instance) -> None:
    someone = await api.account()
    version = await someone.push("broken")
    why = BuildProblem(
        reason="no_such_version", message="requirements.txt line 3: no such version", culprit="x"
    )
    await (
        api.database_as("builder")
        .collection(Build)
        .insert(
            Build(id=version["build_id"], request=EnvironmentRequest(), state=BuildState.FAILED, problem=why)
        )
    )
    await api.platform.bus.send(BuildFailed(build_id=version["build_id"], reason="no_such_version"))
    told = (await someone.client.get(version["events_url"])).text
    assert "event: end" in told
    assert "requirements.txt line 3" in told
    run = await someone.client.post(f"/api/v1/versions/{someone.name}/broken/1/runs", json={})
    refused = problem(run, 409)
    assert "requirements.txt line 3" in refused["detail"]
    assert refused["errors"][0]["field"] == "x"
    again = await someone.push("broken")
    assert (again["id"], again["state"], again["build_problem"]) == (version["id"], "building", None)
    assert again["build_id"] != version["build_id"]
    # A late word about the first build changes nothing.
    await api.services.versions.build_failed(version["build_id"], "no_such_version")
    assert (await someone.client.get(f"/api/v1/versions/{version['id']}")).json()["state"] == "building"


async def test_what_a_trial_made_becomes_a_version_once(api: Instance) -> None:
    someone = await api.account()
    await someone.upload(FILES)
    trained = manifest()
    digest = await api.platform.blobs.put_bytes(canonical_json(trained))
    request = TrainRequest(
        id=new_id("trial"), owner_id=someone.id, owner=someone.name, model="trained", manifest_digest=digest
    )
    await api.services.repository.trials.requests.insert(request)
    await (
        api.database_as("trainer")
        .collection(Trial)
        .insert(
            Trial(
                id=request.id,
                owner_id=someone.id,
                owner=someone.name,
                model="trained",
                source_digest=digest,
                state=TrialState.SUCCEEDED,
                metrics={"accuracy": 0.97},
                environment_digest=sha256_bytes(b"environment"),
            )
        )
    )
    wish = VersionRegister(version_id=new_id("version"), manifest_digest=digest, trial_id=request.id)
    await api.platform.bus.send(wish)
    await api.platform.bus.send(wish)
    version = await _appears(api, wish.version_id)
    assert (version.reference, version.state.value) == (
        f"{someone.name}/trained@{version.number}",
        "building",
    )
    assert version.lineage is not None
    assert version.lineage.metrics == {"accuracy": 0.97}
    listed = (await someone.client.get(f"/api/v1/models/{someone.name}/trained/versions")).json()
    assert [item["id"] for item in listed["items"]] == [wish.version_id]


async def _appears(api: Instance, version_id: str) -> Version:
    while True:
        found = await api.services.repository.bundles.version(_id=version_id)
        if found is not None:
            return found
        await asyncio.sleep(0.05)


async def test_lists_come_in_pages_without_gaps_or_doubles(api: Instance) -> None:
    someone = await api.account()
    made = [(await someone.push(f"model-{number}"))["model"] for number in range(7)]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        query: dict[str, str | int] = {"limit": 3, **({"after": after} if after else {})}
        page = (await someone.client.get("/api/v1/models", params=query)).json()
        seen += [item["name"] for item in page["items"]]
        after = page["next"]
    assert seen == made[::-1]
    problem(await someone.client.get("/api/v1/models", params={"after": "nonsense"}), 422)
