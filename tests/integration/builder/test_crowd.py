"""Three builders on one store, twenty versions at once: each layer is made once, all environments run."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from builder_desk import Desk
from builder_stores import Catalogue, left_behind, make_catalogue
from docker_daemon import DockerDaemon
from servers import require
from vitrine_common.documents import Environment
from vitrine_common.environments import image_reference
from vitrine_common.states import BuildState

pytestmark = pytest.mark.timeout(300)

VERSIONS = 20
BUILDERS = 3
SHOW = "import importlib, sys; print(*(importlib.import_module(f'{n}.m1').OWNER for n in sys.argv[1:]))"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return make_catalogue(tmp_path_factory.mktemp("catalogue"), 24, modules=6)


@pytest.fixture
async def crowd(desk: Desk, catalogue: Catalogue, docker_daemon: DockerDaemon) -> AsyncIterator[Desk]:
    desk.environment |= {
        "UV_DEFAULT_INDEX": catalogue.index,
        "VITRINE_BUILDER_IMAGES": "docker",
        "VITRINE_BUILDER_DOCKER_URL": docker_daemon.url,
        "VITRINE_BUILDER_BASE_IMAGE": docker_daemon.base_image,
        "VITRINE_WORK_LEASE_SECONDS": "10",
    }
    await asyncio.gather(*(desk.start() for _ in range(BUILDERS)))
    yield desk
    await desk.stop()


async def test_versions_that_share_packages_are_built_by_several_builders_at_once(
    crowd: Desk, catalogue: Catalogue, docker_daemon: DockerDaemon
) -> None:
    chance = random.Random(20)
    lists = [sorted(chance.sample(catalogue.names, chance.randint(4, 9))) for _ in range(VERSIONS)]
    ids = await asyncio.gather(*(crowd.request(catalogue.text(chosen).decode()) for chosen in lists))
    builds = await asyncio.gather(*(crowd.end(build_id) for build_id in ids))
    assert {build.state for build in builds} == {BuildState.SUCCEEDED}, [build.problem for build in builds]

    lines = [json.loads(line) for line in crowd.log.read_text().splitlines() if line.startswith("{")]
    made = Counter(line["layer"] for line in lines if line.get("message") == "layer made")
    wanted = {name for chosen in lists for name in chosen}
    named = sum(len(chosen) for chosen in lists)
    print(f"{VERSIONS} versions, {named} packages, {len(wanted)} distinct, {made.total()} layers made")
    assert made == Counter(list(crowd.layers())), "a layer was made twice"
    assert len(made) == len(wanted)

    for chosen, build in zip(lists, builds, strict=True):
        environment = crowd.path(build)
        assert catalogue.missing(environment, chosen) == []
        assert in_sandbox(environment, chosen) == " ".join(chosen)
    documents = [await crowd.database.collection(Environment).get(b.environment_digest or "") for b in builds]
    with closing(docker_daemon.client()) as client:
        for chosen, document in list(zip(lists, documents, strict=True)):
            image = client.images.get(image_reference(document.id))
            assert image.id == document.image_digest
            answer = client.containers.run(
                image.id, ["/env/bin/python", "-c", SHOW, *chosen], network_disabled=True, remove=True
            )
            assert answer.decode().strip() == " ".join(chosen)
            client.images.remove(image_reference(document.id), force=True)
    assert left_behind(crowd.environments) == []


def in_sandbox(environment: Path, names: list[str]) -> str:
    command = [
        *(require("bwrap"), "--ro-bind", "/usr", "/usr", "--tmpfs", "/opt", "--dev", "/dev"),
        *(
            "--ro-bind-try",
            "/lib",
            "/lib",
            "--ro-bind-try",
            "/lib64",
            "/lib64",
            "--unshare-all",
            "--clearenv",
        ),
        *("--ro-bind", sys.base_prefix, "/opt/python", "--ro-bind", str(environment), "/env"),
        *("/env/bin/python", "-c", SHOW, *names),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
