"""The base system as an image: what models run in that have no image of their own."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from docker_daemon import DockerDaemon
from system_base import lend_base
from vitrine.stack.services import with_base_image
from vitrine.stack.settings import StackSettings
from vitrine_builder.base import main
from vitrine_builder.system.bases import Base


def test_the_base_is_loaded_once_with_its_digest_for_a_layer(
    docker_daemon: DockerDaemon,
    system_base: Base,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lend_base(system_base, tmp_path)
    monkeypatch.setenv("DOCKER_HOST", docker_daemon.url)
    command = ["--environments", str(tmp_path), "--docker", "vitrine-test/own-base", "--json"]
    for _ in range(2):
        assert main(command) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["digest"] == system_base.digest
        name = said.err.strip().removeprefix("In the Docker daemon: ")
    with contextlib.closing(docker_daemon.client()) as client:
        image = client.images.get(name)
        assert image.attrs["RootFS"]["Layers"] == [system_base.digest]


def test_the_stack_tells_its_services_of_the_base(
    docker_daemon: DockerDaemon, system_base: Base, tmp_path: Path
) -> None:
    lend_base(system_base, tmp_path / "environments")
    settings = StackSettings(data_dir=tmp_path, engine="docker")
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DOCKER_HOST": docker_daemon.url}
    told = with_base_image(settings, variables)
    image = told["VITRINE_RUNNER_BASE_IMAGE"]
    assert told["VITRINE_TRAINER_BASE_IMAGE"] == image
    with contextlib.closing(docker_daemon.client()) as client:
        assert client.images.get(image).attrs["RootFS"]["Layers"] == [system_base.digest]
    chosen = {**variables, "VITRINE_RUNNER_BASE_IMAGE": "mine:1"}
    assert with_base_image(settings, chosen) == chosen


def test_a_daemon_that_is_not_there_leaves_the_default(system_base: Base, tmp_path: Path) -> None:
    lend_base(system_base, tmp_path / "environments")
    settings = StackSettings(data_dir=tmp_path, engine="docker")
    variables = {"PATH": "/usr/bin:/bin", "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    assert with_base_image(settings, variables) == variables
