"""Every form of requirements through the builder as a service, to an environment that works in a sandbox."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builder_desk import Desk
from conda_channel import PLACEHOLDER, index_channel, make_conda_package
from servers import require
from vitrine_common.documents import Build
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.states import BuildState

PROJECT = """\
[project]
name = "demo"
dependencies = ["six==1.17.0"]
[project.optional-dependencies]
names = ["idna==3.10"]
"""
CONDA = """\
channels: [own]
dependencies:
  - greeting=1
  - pip: [six==1.17.0]
"""


@pytest.fixture(autouse=True)
async def builder(desk: Desk) -> None:
    """Let a builder be there that has a conda channel."""
    if desk.processes:
        return
    channel = desk.root / "own"
    files = {"bin/greet": f"#!/bin/sh\ncat {PLACEHOLDER}/share/words.txt\n", "share/words.txt": "hello\n"}
    make_conda_package(channel, "greeting", "1.2", files)
    await index_channel(channel)
    desk.environment["VITRINE_BUILDER_CONDA_CHANNELS"] = str(channel)
    await desk.start()


async def built(desk: Desk, text: str, name: str, *extras: str) -> Build:
    digest = await desk.blobs.put_bytes(text.encode())
    request = EnvironmentRequest(requirements_digest=digest, requirements_name=name, extras=extras)
    return await desk.end(await desk.ask(request))


def in_sandbox(environment: Path, *command: str) -> str:
    finished = subprocess.run(
        [
            *(require("bwrap"), "--ro-bind", "/usr", "/usr", "--tmpfs", "/opt", "--dev", "/dev"),
            *(
                "--ro-bind-try",
                "/lib",
                "/lib",
                "--ro-bind-try",
                "/lib64",
                "/lib64",
                "--symlink",
                "usr/bin",
                "/bin",
            ),
            *("--ro-bind", sys.base_prefix, "/opt/python", "--ro-bind", str(environment), "/env"),
            *("--unshare-all", "--clearenv", *command),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


async def test_a_list_in_the_request_needs_no_file(desk: Desk) -> None:
    request = EnvironmentRequest(requirements=("six==1.17.0",), requirements_name="package.requirements")
    build = await desk.end(await desk.ask(request))
    assert build.state is BuildState.SUCCEEDED, build.problem
    assert (await desk.document(build)).lock.startswith("six==1.17.0 --hash=sha256:")


async def test_a_project_brings_its_optional_lists(desk: Desk) -> None:
    build = await built(desk, PROJECT, "app/pyproject.toml", "names")
    assert build.state is BuildState.SUCCEEDED, build.problem
    assert [line.split("=")[0] for line in (await desk.document(build)).lock.splitlines()] == ["idna", "six"]


async def test_a_source_distribution_works_like_any_wheel(desk: Desk) -> None:
    build = await built(desk, "docopt==0.6.2\n", "requirements.txt")
    assert build.state is BuildState.SUCCEEDED, build.problem
    assert (await desk.document(build)).lock.count("--hash=sha256:") == 2
    found = in_sandbox(desk.path(build), "/env/bin/python", "-c", "import docopt; print(docopt.__version__)")
    assert found == "0.6.2\n"


async def test_conda_packages_lie_below_the_wheels(desk: Desk) -> None:
    build = await built(desk, CONDA, "environment.yml")
    assert build.state is BuildState.SUCCEEDED, build.problem
    lock = (await desk.document(build)).lock
    assert lock.startswith("# conda linux-64/greeting=1.2=0 sha256:")
    assert "\nsix==1.17.0 --hash=" in lock
    assert in_sandbox(desk.path(build), "/env/bin/greet") == "hello\n"
    assert (
        in_sandbox(desk.path(build), "/env/bin/python", "-c", "import six; print(six.__version__)")
        == "1.17.0\n"
    )
    again = await built(desk, CONDA, "environment.yml")
    assert (again.reused, again.environment_digest) == (True, build.environment_digest)


async def test_what_cannot_be_read_names_the_line_of_its_own_form(desk: Desk) -> None:
    build = await built(desk, CONDA.replace("greeting=1", "other::greeting"), "environment.yml")
    assert build.problem is not None
    assert build.problem.message.startswith("environment.yml line 3: `other::greeting` names a channel")
