"""The stack on the docker engine: models run in containers, and a dead runner or daemon is survived."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docker_daemon import DockerDaemon
from stack_desk import COMMAND, StackDesk, eventually
from vitrine.results import Run

pytestmark = pytest.mark.timeout(600)
LABEL = "vitrine.engine"
SQUARE = {
    "vitrine.yaml": """\
name: square
model: {command: python model.py, input: {type: flag}}
inputs:
  n: {type: number, integer: true, default: 1}
  seconds: {type: number, default: 0}
outputs:
  answer: {type: text, path: answer.txt}
resources: {cpu: 1, memory: 96Mi, timeout: 60s}
""",
    "model.py": """\
import sys, time
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
time.sleep(float(arguments["--seconds"]))
open("answer.txt", "w").write(str(int(arguments["--n"]) ** 2))
""",
}
SUM = """\
name: sum
onnx: model.onnx
inputs:
  left: {type: json, tensor: {name: a}}
  right: {type: json, tensor: {name: b}}
outputs:
  total: {type: json, tensor: {name: sum}}
"""

TRAINED = {
    "vitrine.yaml": """\
name: trained
model: {command: cat weights.txt, input: {type: flag}}
outputs:
  answer: {type: text, path: stdout}
train: {command: python train.py, outputs: weights.txt}
""",
    "train.py": "print('{\"step\": 1, \"loss\": 0.5}'); open('weights.txt', 'w').write('0.25\\n')",
}


@pytest.fixture(scope="module")
def daemon(docker_base_archive: Path) -> Iterator[DockerDaemon]:
    """A daemon that may be killed."""
    found = DockerDaemon(Path(tempfile.mkdtemp(prefix="vitrine-docker-")))
    try:
        found.start()
        found.import_base(docker_base_archive)
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def desk(daemon: DockerDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackDesk]:
    """A stack that runs everything in containers of that daemon."""
    settings = {
        "DOCKER_HOST": daemon.url,
        "VITRINE_RUNNER_BASE_IMAGE": daemon.base_image,
        "VITRINE_TRAINER_BASE_IMAGE": daemon.base_image,
        "VITRINE_BUILDER_BASE_IMAGE": daemon.base_image,
        "VITRINE_RUNNER_RETRY_SECONDS": "0.2",
    }
    made = StackDesk(tmp_path_factory.mktemp("stack"), settings, arguments=("--engine", "docker"))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="module")
def square(desk: StackDesk) -> str:
    version = desk.push(desk.bundle("square", SQUARE))
    assert version["state"] == "ready", version
    return str(version["reference"])


def containers(daemon: DockerDaemon, only_running: bool = False) -> list[str]:
    """Names of the containers of engines."""
    with contextlib.closing(daemon.client()) as client:
        found = client.containers.list(all=not only_running, filters={"label": LABEL}, ignore_removed=True)
        return [container.name for container in found]


def submit(desk: StackDesk, reference: str, **inputs: Any) -> Run:
    with desk.client() as client:
        return client.submit(reference, inputs)


def state(desk: StackDesk, run: Run) -> str:
    with desk.client() as client:
        return str(client.get_run(run.id).document()["state"])


def running(desk: StackDesk, run: Run) -> None:
    eventually(lambda: state(desk, run) == "running", "the run is on its way")


def answer(run: dict[str, Any]) -> Any:
    assert run["state"] == "succeeded", run
    (output,) = run["outputs"]
    return output["value"]


def test_a_script_runs_in_a_container(desk: StackDesk, daemon: DockerDaemon, square: str) -> None:
    assert answer(desk.run(square, n=7)) == "49"
    run = submit(desk, square, n=3, seconds=600)
    running(desk, run)
    eventually(lambda: containers(daemon, only_running=True), "a container of the model runs")
    desk.vitrine("cancel", run.id)
    assert desk.finished(f"/runs/{run.id}", "the run is cancelled")["state"] == "cancelled"
    assert answer(desk.run(square, n=8)) == "64"


def test_an_onnx_model_runs_in_a_container(desk: StackDesk, daemon: DockerDaemon, onnx_models: Path) -> None:
    files: dict[str, str | bytes] = {
        "vitrine.yaml": SUM,
        "model.onnx": (onnx_models / "sum.onnx").read_bytes(),
    }
    version = desk.push(desk.bundle("sum", files))
    assert version["state"] == "ready", version
    for left, right in ((1, 2), (3, 4)):
        assert answer(desk.run(version["reference"], left=[left], right=[right])) == [[left + right]]
    image = f"vitrine/env:{version['environment_digest'].removeprefix('sha256:')}"
    with contextlib.closing(daemon.client()) as client:
        made = client.images.get(image).id
        served = client.containers.list(filters={"label": LABEL, "ancestor": made}, ignore_removed=True)
    assert len(served) == 1, "the model runs in the image that the builder loaded"


def test_a_training_runs_in_a_container(desk: StackDesk) -> None:
    _, version = desk.train(desk.bundle("trained", TRAINED))
    assert answer(desk.run(version["reference"])) == "0.25\n"


def test_a_killed_runner_leaves_no_container(desk: StackDesk, daemon: DockerDaemon, square: str) -> None:
    run = submit(desk, square, n=5, seconds=2)
    running(desk, run)
    before = set(containers(daemon))
    assert before
    runner = desk.pid("runner")
    assert runner is not None
    os.kill(runner, signal.SIGKILL)
    assert answer(desk.finished(f"/runs/{run.id}", "the run is begun again")) == "25"
    assert not before & set(containers(daemon))


def test_a_killed_daemon_hangs_nothing(desk: StackDesk, daemon: DockerDaemon, square: str) -> None:
    run = submit(desk, square, n=6, seconds=3)
    running(desk, run)
    daemon.kill()
    without = submit(desk, square, n=2)
    other = submit(desk, square, n=9, seconds=1)
    for each in (run, without, other):
        ended = desk.finished(f"/runs/{each.id}", "the run ends without a daemon")
        assert ended["state"] == "succeeded" or ended["reason"] == "platform_error", ended
    daemon.start()
    assert answer(desk.run(square, n=11)) == "121"


def test_no_container_is_left_in_the_end(desk: StackDesk, daemon: DockerDaemon) -> None:
    desk.stop()
    eventually(lambda: not containers(daemon), "all containers are removed", seconds=20)


def test_docker_without_a_daemon_says_what_to_do(tmp_path: Path) -> None:
    ended = subprocess.run(
        [str(COMMAND), "up", "--engine", "docker", "--data-dir", str(tmp_path / "data")],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "point DOCKER_HOST at a daemon" in ended.stderr
    assert "nobody.sock" in ended.stderr
