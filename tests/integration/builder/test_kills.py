"""A builder killed at every step, and a Docker daemon while it loads: the next attempt completes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from builder_desk import Desk
from builder_stores import Catalogue, left_behind, make_catalogue
from docker_daemon import DockerDaemon, why_no_daemon
from vitrine_builder.completion import is_complete
from vitrine_common.documents import Build
from vitrine_common.environments import image_reference
from vitrine_common.ids import new_id
from vitrine_common.states import BuildState
from vitrine_engine.docker.images import WITH_BYTECODE

pytestmark = pytest.mark.timeout(400)

STEPS = ("queued", "resolve", "download", "unpack", "assemble", "load", "done")
SWEEP = 1


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Packages of some weight, a few of which each build takes for the first time."""
    return make_catalogue(tmp_path_factory.mktemp("catalogue"), 60, modules=60, size=3_000)


@pytest.fixture
async def own_daemon(
    docker_base_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DockerDaemon]:
    """A daemon of this test alone, since it is killed."""
    if why_no_daemon() is not None:
        pytest.skip("a given daemon is not killed")
    daemon = DockerDaemon(tmp_path_factory.mktemp("d"))
    try:
        await asyncio.to_thread(daemon.start)
        await asyncio.to_thread(daemon.import_base, docker_base_archive)
        yield daemon
    finally:
        await asyncio.to_thread(daemon.stop)


@pytest.fixture
async def killed(desk: Desk, catalogue: Catalogue, own_daemon: DockerDaemon) -> AsyncIterator[Desk]:
    desk.environment |= {
        "UV_DEFAULT_INDEX": catalogue.index,
        "VITRINE_BUILDER_IMAGES": "docker",
        "VITRINE_BUILDER_DOCKER_URL": own_daemon.url,
        "VITRINE_BUILDER_BASE_IMAGE": own_daemon.base_image,
        "VITRINE_BUILDER_MAX_CLAIMS": "50",
        "VITRINE_BUILDER_MAX_TRIES": "1",
        "VITRINE_WORK_LEASE_SECONDS": "1.5",
    }
    yield desk
    await desk.stop()


class Watched:
    """The steps that one build has told of."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.id, self.steps = desk, new_id("build"), [""]
        self.news = asyncio.Event()

    async def hear(self, message: Any) -> None:
        payload = json.loads(message.data)["payload"]
        if payload["build_id"] == self.id:
            self.steps.append(payload["step"])
            self.news.set()

    async def until(self, step: str) -> None:
        async with asyncio.timeout(60):
            while step not in self.steps:
                self.news.clear()
                await self.news.wait()


async def test_whatever_step_a_builder_is_killed_at_the_next_one_completes_the_build(
    killed: Desk, catalogue: Catalogue, own_daemon: DockerDaemon
) -> None:
    hits: dict[str, list[str]] = {}
    names = iter(catalogue.names)
    plan: list[str | float] = [*STEPS, *(0.08 * (number + 1) for number in range(SWEEP))]
    for goal in plan:
        chosen = [*catalogue.names[:2], *(next(names) for _ in range(4))]
        doomed = await killed.start()
        watched = Watched(killed)
        subscription = await killed.bus.client.subscribe("build.progress.>", cb=watched.hear)
        await killed.bus.client.flush()
        await killed.request(catalogue.text(sorted(set(chosen))).decode(), watched.id)
        if isinstance(goal, float):
            await asyncio.sleep(goal)
        elif goal != "queued":
            await watched.until(goal)
        doomed.kill()
        await asyncio.to_thread(doomed.wait)
        await killed.bus.client.flush()
        await subscription.unsubscribe()
        hits.setdefault(watched.steps[-1], []).append(f"{goal}")

        await killed.start()
        build = await killed.end(watched.id)
        assert build.state is BuildState.SUCCEEDED, (goal, build.problem)
        assert catalogue.missing(killed.path(build), sorted(set(chosen))) == []
        assert_whole_layers(killed.environments)
        assert await killed.stop() == [0]
        assert await settled(killed.environments) == [], goal
    print("killed at:", {step or "before any": goals for step, goals in hits.items()})
    assert {"resolve", "download", "load"} <= set(hits) or len(hits) >= 5, hits


async def killed_at_bytecode(desk: Desk, catalogue: Catalogue) -> tuple[list[str], Build]:
    """Kill a builder while it compiles; return what its build asked for, and the build."""
    for first in range(20, 52, 8):
        doomed = await desk.start()
        chosen = sorted(catalogue.names[first : first + 8])
        build = await desk.end(await desk.request(catalogue.text(chosen).decode()))
        environment = desk.path(build)
        async with asyncio.timeout(60):
            drafts = desk.environments.glob
            while not (list(drafts(".builder/drafts/*/*/tree/**/*.pyc")) or is_complete(environment)):
                await asyncio.sleep(0.01)
        doomed.kill()
        await asyncio.to_thread(doomed.wait)
        if not is_complete(environment):
            return chosen, build
    pytest.fail("four builders had compiled everything before they could be killed")


async def test_bytecode_whose_builder_is_killed_is_there_after_the_next_one_began(
    killed: Desk, catalogue: Catalogue, own_daemon: DockerDaemon
) -> None:
    chosen, build = await killed_at_bytecode(killed, catalogue)
    await killed.start()
    environment = killed.path(build)
    async with asyncio.timeout(60):
        while not is_complete(environment):
            await asyncio.sleep(0.05)
    document = await killed.document(build)
    program = f"import {chosen[0]}.m1 as m, os; print(m.OWNER, os.path.exists(m.__cached__))"
    with contextlib.closing(own_daemon.client()) as client:
        name = f"{image_reference(document.id)}{WITH_BYTECODE}"
        answer = client.containers.run(name, ["/env/bin/python", "-c", program], remove=True)
        assert answer.decode().split() == [chosen[0], "True"]
    assert await killed.stop() == [0]
    assert await settled(killed.environments) == []


async def test_a_daemon_that_is_killed_while_it_loads_gets_the_image_from_the_next_attempt(
    killed: Desk, catalogue: Catalogue, own_daemon: DockerDaemon
) -> None:
    await killed.start()
    chosen = sorted(catalogue.names[-8:])
    watched = Watched(killed)
    subscription = await killed.bus.client.subscribe("build.progress.>", cb=watched.hear)
    await killed.bus.client.flush()
    await killed.request(catalogue.text(chosen).decode(), watched.id)
    await watched.until("load")
    await asyncio.to_thread(own_daemon.kill)
    build = await killed.end(watched.id)
    await subscription.unsubscribe()
    await asyncio.to_thread(own_daemon.start)
    print(f"the build whose daemon was killed: {build.state}, {build.problem and build.problem.message}")
    if build.state is BuildState.FAILED:
        assert build.problem is not None
        assert "Docker daemon" in build.problem.message
    again = await killed.end(await killed.request(catalogue.text(chosen).decode()))
    assert again.state is BuildState.SUCCEEDED, again.problem
    document = await killed.document(again)
    with contextlib.closing(own_daemon.client()) as client:
        image = client.images.get(f"vitrine/env:{document.id.removeprefix('sha256:')}")
        assert image.id == document.image_digest
        answer = client.containers.run(
            image.id, ["/env/bin/python", "-c", f"import {chosen[0]}.m1 as m; print(m.OWNER)"], remove=True
        )
        assert answer.decode().strip() == chosen[0]
    assert await killed.stop() == [0]
    assert await settled(killed.environments) == []


def assert_whole_layers(environments: Path) -> None:
    """Every layer there is holds every file that it lists, in full."""
    for place in (environments / ".builder/layers").iterdir():
        listing = json.loads((place / "layer.json").read_text())["listing"]
        for path, size, _executable in listing:
            assert (place / "tree" / path).stat().st_size == size, f"{place.name} is half a layer"


async def settled(environments: Path) -> list[str]:
    """Return what lies about once the last child of a killed builder has noticed that it is gone."""
    deadline = time.monotonic() + 20
    while (left := left_behind(environments)) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return left
