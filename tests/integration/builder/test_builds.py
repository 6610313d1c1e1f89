"""Builds from the command to the environment: real servers, real packages, builder processes that die."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from builder_desk import Desk
from servers import require
from vitrine_common.documents import Build
from vitrine_common.ids import new_id
from vitrine_common.messages import BuildStart, EnvironmentRequest, seal
from vitrine_common.states import BuildState


@pytest.fixture(autouse=True)
async def builder(desk: Desk) -> None:
    """Let a builder be there, whatever the test before did to its own."""
    if not desk.processes:
        await desk.start()


@pytest.fixture
async def heard(desk: Desk) -> AsyncIterator[list[dict[str, Any]]]:
    """Everything that is said about builds while the test runs."""
    said: list[dict[str, Any]] = []

    async def hear(message: Any) -> None:
        said.append(json.loads(message.data))

    subscription = await desk.bus.client.subscribe("build.>", cb=hear)
    await desk.bus.client.flush()
    yield said
    await subscription.unsubscribe()


async def told(heard: list[dict[str, Any]], kind: str, build_id: str) -> dict[str, Any]:
    """Return the payload of the fact `kind` about a build, once it was said."""
    async with asyncio.timeout(30):
        while True:
            for message in heard:
                if message["type"] == kind and message["payload"]["build_id"] == build_id:
                    return dict(message["payload"])
            await asyncio.sleep(0.02)


def every_path(root: Path) -> dict[str, tuple[int, int]]:
    """Every path below `root`, with inode and time of change."""
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def in_sandbox(environment: Path, *command: str) -> str:
    """Run a command where the environment is at `/env` and Python at `/opt/python`."""
    finished = subprocess.run(
        [
            *(require("bwrap"), "--ro-bind", "/usr", "/usr", "--tmpfs", "/opt", "--dev", "/dev"),
            *("--ro-bind-try", "/lib", "/lib", "--ro-bind-try", "/lib64", "/lib64"),
            *("--ro-bind", sys.base_prefix, "/opt/python", "--ro-bind", str(environment), "/env"),
            *("--unshare-all", "--clearenv", *command),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


async def test_a_first_build_makes_an_environment_that_works_in_a_sandbox(
    desk: Desk, heard: list[dict[str, Any]]
) -> None:
    build = await desk.end(await desk.request("six==1.17.0\ncharset-normalizer\n"))
    assert build.state is BuildState.SUCCEEDED, build.problem
    assert not build.reused
    steps = {"resolve", "download", "unpack", "assemble", "environment", "total"}
    assert steps <= set(build.timings_ms)
    fact = await told(heard, "build.succeeded", build.id)
    assert fact["environment_digest"] == build.environment_digest

    document = await desk.document(build)
    assert document.ready_at is not None
    assert document.lease_token == ""
    assert document.packages == 2
    assert document.lock.startswith("charset-normalizer==")

    script = "import six, sys; print(six.__file__, six.__cached__, sys.prefix, six.__version__)"
    assert in_sandbox(desk.path(build), "/env/bin/python", "-c", script).split() == [
        "/env/lib/python3.11/site-packages/six.py",
        "/env/lib/python3.11/site-packages/__pycache__/six.cpython-311.pyc",
        "/env",
        "1.17.0",
    ]
    assert "usage" in in_sandbox(desk.path(build), "/env/bin/normalizer", "--help")
    assert all(
        path.stat().st_mode & 0o222 == 0
        for path in desk.path(build).rglob("site-packages/**/*")
        if path.is_file()
    )


async def test_progress_is_told_step_by_step(desk: Desk, heard: list[dict[str, Any]]) -> None:
    build = await desk.end(await desk.request("toml==0.10.2\n"))
    last = {"build.progress": ""}
    async with asyncio.timeout(30):
        while last["build.progress"] != "done":
            await asyncio.sleep(0.02)
            steps = [m["payload"] for m in heard if m["type"] == "build.progress"]
            last["build.progress"] = steps[-1]["step"] if steps else ""
    assert {step["build_id"] for step in steps} == {build.id}
    assert list(dict.fromkeys(step["step"] for step in steps)) == [
        *("resolve", "download", "unpack", "assemble", "done")
    ]
    assert (steps[-1]["done"], steps[-1]["total"], steps[-1]["unit"]) == (1, 1, "packages")


async def test_the_same_again_is_no_work_at_all(desk: Desk) -> None:
    first = await desk.end(await desk.request("six==1.17.0\n"))
    async with asyncio.timeout(60):
        while not (desk.path(first) / "bytecode.json").exists():  # it follows
            await asyncio.sleep(0.05)
    before = every_path(desk.environments)
    again = await desk.end(await desk.request("# the same\nSIX == 1.17.0\n"))
    assert again.state is BuildState.SUCCEEDED
    assert again.reused
    assert again.environment_digest == first.environment_digest
    assert every_path(desk.environments) == before


async def test_one_package_more_makes_one_layer_and_shares_the_rest(desk: Desk) -> None:
    first = await desk.end(await desk.request("six==1.17.0\n"))
    before = desk.layers()
    more = await desk.end(await desk.request("six==1.17.0\nidna==3.10\n"))
    after = desk.layers()
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    module = Path("lib/python3.11/site-packages/six.py")
    assert (desk.path(first) / module).samefile(desk.path(more) / module)


async def test_an_environment_that_was_deleted_is_made_again(desk: Desk) -> None:
    first = await desk.end(await desk.request("six==1.16.0\n"))
    desk.path(first).rename(desk.root / new_id("gone"))
    again = await desk.end(await desk.request("six==1.16.0\n"))
    assert again.state is BuildState.SUCCEEDED
    assert desk.path(again) == desk.path(first)
    assert (desk.path(again) / "environment.json").exists()


async def test_asking_twice_is_asking_once(desk: Desk) -> None:
    command = seal(BuildStart(build_id=new_id("build"), request=EnvironmentRequest()))
    await desk.bus.publish(command)
    build = await desk.end(command.payload.build_id)
    await desk.bus.publish(command.model_copy(update={"id": new_id("msg")}))
    other = await desk.end(await desk.ask(EnvironmentRequest()))  # heard after the repeated one
    assert other.environment_digest == build.environment_digest
    again = await desk.database.collection(Build).get(build.id)
    assert (again.attempt, again.finished_at) == (build.attempt, build.finished_at)
    assert build.correlation_id == command.correlation_id


@pytest.mark.parametrize(
    "case",
    [
        ("six==99.1\n", "no_such_version", "six==99.1", "needs.txt line 1: There is no version"),
        ("no-such-package-vitrine\n", "no_such_package", "no-such-package-vitrine", "check the spelling"),
        ("tensorflow==2.3.0\n", "no_wheel", "tensorflow==2.3.0", "no source distribution"),
        ("requests==2.31.0\nidna==2.0\n", "conflict", "idna==2.0", "needs `idna"),
        ("six\n-r more.txt\n", "invalid_requirements", None, "needs.txt line 2"),
        ("six --hash=sha256:" + "0" * 64, "hash_mismatch", "six==1.17.0", "needs.txt line 1"),
    ],
    ids=lambda case: case[1],
)
async def test_what_cannot_be_made_says_why(
    desk: Desk, heard: list[dict[str, Any]], case: tuple[str, str, str | None, str]
) -> None:
    text, reason, culprit, said = case
    digest = await desk.blobs.put_bytes(text.encode())
    request = EnvironmentRequest(requirements_digest=digest, requirements_name="needs.txt")
    build = await desk.end(await desk.ask(request))
    assert build.state is BuildState.FAILED
    assert build.environment_digest is None
    assert build.problem is not None
    assert (build.problem.reason, build.problem.culprit) == (reason, culprit)
    assert said in build.problem.message
    assert (await told(heard, "build.failed", build.id))["reason"] == reason


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (EnvironmentRequest(requirements_digest="sha256:" + "0" * 64), "push the bundle again"),
        (EnvironmentRequest(python="3.9"), "Python 3.9 is not available"),
    ],
)
async def test_a_request_that_makes_no_sense_is_answered(
    desk: Desk, request_: EnvironmentRequest, said: str
) -> None:
    build = await desk.end(await desk.ask(request_))
    assert build.problem is not None
    assert build.problem.reason == "invalid_requirements"
    assert said in build.problem.message


async def test_two_builders_make_one_lock_once(desk: Desk) -> None:
    await desk.start()
    ids = await asyncio.gather(*(desk.request(f"sniffio==1.3.1 # {n}\n") for n in range(4)))
    builds = await asyncio.gather(*(desk.end(build_id) for build_id in ids))
    assert {build.state for build in builds} == {BuildState.SUCCEEDED}
    assert len({build.environment_digest for build in builds}) == 1
    assert [build.reused for build in builds].count(False) == 1


async def test_a_build_whose_builder_is_killed_is_completed_by_another(desk: Desk) -> None:
    await desk.stop()
    doomed = await desk.start()
    build_id = await desk.request("numpy==2.4.6\n")
    await desk.until(build_id, lambda build: build.step in {"download", "unpack"})
    doomed.kill()
    doomed.wait()
    assert list((desk.environments / ".builder/drafts").glob("builder_*/draft_*")), "killed too late"

    await desk.start()
    build = await desk.end(build_id)
    assert build.state is BuildState.SUCCEEDED, build.problem
    assert build.attempt == 2
    script = "import numpy; print(int(numpy.arange(5).sum()))"
    assert in_sandbox(desk.path(build), "/env/bin/python", "-c", script) == "10\n"


async def test_a_stopped_builder_gives_its_build_back_at_once(desk: Desk) -> None:
    await desk.stop()
    # What the killed one left is swept once its last child is gone, which may not be yet.
    there_before = list((desk.environments / ".builder/drafts").glob("builder_*"))
    await desk.start()
    build_id = await desk.request("scipy==1.17.0\n")
    await desk.until(build_id, lambda build: build.step in {"download", "unpack"})
    assert await desk.stop() == [0], desk.log.read_text()
    build = await desk.until(build_id, lambda build: build.state is BuildState.QUEUED)
    assert build.attempt == 0
    drafts = desk.environments / ".builder/drafts"
    assert not [folder for folder in drafts.glob("builder_*") if folder not in there_before]
