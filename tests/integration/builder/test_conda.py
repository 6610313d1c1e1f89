"""What only conda has, from a channel that the test makes: solved, locked, linked as one layer."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from conda_channel import PLACEHOLDER, index_channel, make_conda_package
from vitrine_builder.conda import SETTING, Conda
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.layers import LayerStore
from vitrine_builder.lock import Lock, Target
from vitrine_builder.process import Bounds
from vitrine_builder.requirements import CondaPart, read_requirements
from vitrine_builder.workspace import Workspace, open_workspace

FILE = """\
channels: [own]
dependencies:
  - greeting>=1
  - pip: [six]
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with open_workspace(tmp_path / "environments") as opened:
        yield opened


@pytest.fixture
async def channel(tmp_path: Path) -> str:
    root = tmp_path / "own"
    script = f"#!/bin/sh\ncat {PLACEHOLDER}/share/words.txt\n"
    make_conda_package(root, "words", "2.0", {"share/words.txt": "hello\n"}, subdir="noarch")
    make_conda_package(
        root,
        "greeting",
        "1.2",
        {"bin/greet": script, "lib/libgreet.so.1": "elf", "bin/post-link.sh": "touch /tmp/never"},
        depends=["words >=2", "__glibc >=2.17"],
        links={"lib/libgreet.so": "libgreet.so.1", "lib/outside": "../../../../etc/passwd"},
    )
    return await index_channel(root)


def conda(workspace: Workspace, *channels: str) -> Conda:
    store = LayerStore(workspace, cast("Any", _Uv()), cast("Any", None))
    return Conda(workspace, store, Target(), channels, {}, Bounds(60), 60)


class _Uv:
    target = Target()


def part(text: str = FILE) -> CondaPart:
    found = read_requirements(text.encode(), "environment.yml", (), "3.11").conda
    assert found is not None
    return found


async def failure_of(made: Conda, text: str = FILE) -> BuildFailure:
    with pytest.raises(BuildFailure) as caught:
        await made.lock(part(text), "environment.yml")
    return caught.value


async def test_packages_become_one_layer_that_fits_where_sandboxes_see_it(
    workspace: Workspace, channel: str
) -> None:
    made = conda(workspace, channel)
    package = await made.lock(part(), "environment.yml")
    names = [entry.split(" ")[0] for entry in package.conda]
    assert names == ["linux-64/greeting=1.2=0", "noarch/words=2.0=0"]
    assert Lock((package,)).text.splitlines() == [f"# conda {entry}" for entry in package.conda]
    assert Lock.from_json(Lock((package,)).to_json()).packages == (package,)

    await made.provide([package])
    layer = made.layers.find(package)
    assert layer is not None
    files = {file.path: file for file in layer.listing}
    assert sorted(files) == [
        *("bin/greet", "bin/post-link.sh", "lib/libgreet.so", "lib/libgreet.so.1", "share/words.txt")
    ]
    assert files["bin/greet"].executable
    assert (layer.tree / "bin/greet").read_text() == "#!/bin/sh\ncat /env/share/words.txt\n"
    assert all(not path.is_symlink() for path in layer.tree.rglob("*"))
    assert all(stat.S_IMODE((layer.tree / name).stat().st_mode) in {0o444, 0o555} for name in files)
    assert not list(workspace.drafts.glob("draft_*"))


async def test_the_same_part_is_the_same_layer_elsewhere(
    workspace: Workspace, channel: str, tmp_path: Path
) -> None:
    first = await conda(workspace, channel).lock(part(), "environment.yml")
    with open_workspace(tmp_path / "other") as other:
        made = conda(other, channel)
        again = await made.lock(part(), "environment.yml")
        assert again == first
        await made.provide([again])
        there = made.layers.find(again)
    here = conda(workspace, channel)
    await here.provide([first])
    layer = here.layers.find(first)
    assert layer is not None
    assert there is not None
    assert layer.listing == there.listing


async def test_a_solution_is_remembered_until_the_channel_changes(
    workspace: Workspace, channel: str, tmp_path: Path
) -> None:
    made = conda(workspace, channel)
    before = await made.lock(part(), "environment.yml")
    unable = replace(made, bounds=Bounds(0.001))
    assert await unable.lock(part(), "environment.yml") == before
    make_conda_package(tmp_path / "own", "words", "3.0", {"share/words.txt": "bye\n"}, subdir="noarch")
    await index_channel(tmp_path / "own")
    after = await made.lock(part(), "environment.yml")
    assert [entry.split(" ")[0] for entry in after.conda][1] == "noarch/words=3.0=0"


async def test_without_a_channel_the_setting_is_named(workspace: Workspace) -> None:
    failure = await failure_of(conda(workspace))
    assert failure.reason is FailureReason.INVALID_REQUIREMENTS
    assert failure.sentence.startswith("environment.yml line 3: `greeting>=1` comes from a conda channel")
    assert SETTING in failure.sentence


async def test_a_channel_that_the_operator_does_not_have_is_named(workspace: Workspace, channel: str) -> None:
    failure = await failure_of(conda(workspace, channel), FILE.replace("own", "other"))
    assert "`other`, but from own" in failure.sentence
    assert SETTING in failure.sentence


async def test_a_channel_that_is_away_is_named_as_such_and_nothing_else(workspace: Workspace) -> None:
    failure = await failure_of(conda(workspace, "http://reader:hunter2@127.0.0.1:9/own"))
    assert failure.reason is FailureReason.INDEX_UNREACHABLE
    assert SETTING in failure.sentence
    assert "hunter2" not in f"{failure.sentence}{failure.log}"


async def test_a_package_that_no_channel_has_is_named_with_its_line(
    workspace: Workspace, channel: str
) -> None:
    text = FILE.replace("  - pip:", "  - nothere=1\n  - pip:")
    failure = await failure_of(conda(workspace, channel), text)
    assert failure.reason is FailureReason.NO_SUCH_PACKAGE
    assert failure.sentence.startswith(
        "environment.yml line 4: no conda channel of the platform has `nothere=1`"
    )


@pytest.mark.parametrize(
    "spec", ["words=2", "words=2.0", "words=2.*", "words = 2.0 = 0", "words==2.0", "words"]
)
async def test_a_version_is_written_as_environment_files_have_it(
    workspace: Workspace, channel: str, spec: str
) -> None:
    text = FILE.replace("greeting>=1", spec)
    package = await conda(workspace, channel).lock(part(text), "environment.yml")
    assert [entry.split(" ")[0] for entry in package.conda] == ["noarch/words=2.0=0"]


async def test_packages_that_contradict_are_a_conflict(workspace: Workspace, channel: str) -> None:
    text = FILE.replace("  - pip:", "  - words<2\n  - pip:")
    failure = await failure_of(conda(workspace, channel), text)
    assert failure.reason is FailureReason.CONFLICT
    assert "words" in failure.sentence


async def test_packages_that_are_gone_are_not_replaced_by_others(
    workspace: Workspace, channel: str, tmp_path: Path
) -> None:
    made = conda(workspace, channel)
    package = await made.lock(part(), "environment.yml")
    next((tmp_path / "own/linux-64").glob("greeting*.bz2")).unlink()
    make_conda_package(tmp_path / "own", "greeting", "1.2", {"bin/greet": "other"}, depends=["words"])
    await index_channel(tmp_path / "own")
    with pytest.raises(BuildFailure):
        await made.provide([package])
    assert made.layers.find(package) is None
