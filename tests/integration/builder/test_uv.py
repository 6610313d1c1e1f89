"""The real resolver and installer against indexes that fail and disks that are full."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from servers import free_port
from vitrine_builder.bytecode import Compiler
from vitrine_builder.completion import Completer
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.layers import LayerStore
from vitrine_builder.lock import Lock, LockedPackage, Target
from vitrine_builder.materialise import EnvironmentStore
from vitrine_builder.presets import PRESETS, preset_file
from vitrine_builder.process import Bounds
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.resolve import Resolver
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.uv import Uv
from vitrine_builder.workspace import Workspace, open_workspace
from vitrine_common.indexes import uv_environment

SIX = LockedPackage(
    "six", "1.17.0", ("sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",)
)
MakeUv = Callable[[Mapping[str, str]], Uv]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with ExitStack() as stack:
        yield stack.enter_context(open_workspace(tmp_path / "environments"))


@pytest.fixture
def make_uv(workspace: Workspace) -> MakeUv:
    settings = BuilderSettings()

    def make(environment: Mapping[str, str]) -> Uv:
        return Uv(workspace.installer, settings.python, settings.target, environment, Bounds(120))

    return make


@pytest.fixture
def uv(make_uv: MakeUv) -> Uv:
    return make_uv(uv_environment(os.environ))


@pytest.fixture
def unreachable(make_uv: MakeUv) -> Uv:
    """Asks an index where nobody listens, with a password that nobody may read later."""
    address = f"http://reader:hunter2@127.0.0.1:{free_port()}/simple"
    return make_uv({"UV_DEFAULT_INDEX": address, "UV_HTTP_RETRIES": "0"})


def environments(workspace: Workspace, uv: Uv, free_bytes: int = 1) -> EnvironmentStore:
    compiler = Compiler(uv.python, "", Bounds(120), jobs=1)
    layers = LayerStore(workspace, uv, compiler)
    return EnvironmentStore(workspace, layers, uv.target, "", free_bytes, Completer(layers))


async def test_an_index_that_is_away_is_named_as_such_while_resolving(
    unreachable: Uv, tmp_path: Path
) -> None:
    with pytest.raises(BuildFailure) as caught:
        await Resolver(unreachable, tmp_path, 60).resolve(parse_requirements(b"six"))
    assert caught.value.reason is FailureReason.INDEX_UNREACHABLE
    assert not [line for line in caught.value.log if "hunter2" in line or "127.0.0.1" in line]
    assert list(tmp_path.glob("*.json")) == []


async def test_an_index_that_is_away_is_named_as_such_while_installing(
    unreachable: Uv, workspace: Workspace
) -> None:
    with pytest.raises(BuildFailure) as caught:
        await environments(workspace, unreachable).materialise(Lock((SIX,)))
    assert caught.value.reason is FailureReason.INDEX_UNREACHABLE
    assert list(workspace.layers.iterdir()) == []
    assert [path.name for path in workspace.drafts.iterdir()] == ["lock"]


async def test_a_wheel_with_other_bytes_than_the_lock_says_is_refused(uv: Uv, workspace: Workspace) -> None:
    forged = replace(SIX, hashes=("sha256:" + "0" * 64,))
    with pytest.raises(BuildFailure) as caught:
        await environments(workspace, uv).materialise(Lock((forged,)))
    assert (caught.value.reason, caught.value.culprit) == (FailureReason.HASH_MISMATCH, "six==1.17.0")
    assert list(workspace.layers.iterdir()) == []


async def test_a_disk_without_room_stops_a_download(uv: Uv, workspace: Workspace) -> None:
    small = replace(uv, bounds=Bounds(120, file_bytes=2_000))
    with pytest.raises(BuildFailure) as caught:
        await environments(workspace, small).materialise(Lock((SIX,)))
    assert caught.value.reason is FailureReason.DISK_FULL
    assert list(workspace.layers.iterdir()) == []
    assert [path.name for path in workspace.drafts.iterdir()] == ["lock"]


async def test_nothing_begins_on_a_disk_that_is_nearly_full(unreachable: Uv, workspace: Workspace) -> None:
    with pytest.raises(BuildFailure) as caught:
        await environments(workspace, unreachable, free_bytes=1 << 62).materialise(Lock((SIX,)))
    assert caught.value.reason is FailureReason.DISK_FULL


async def test_an_index_that_hangs_is_given_up(uv: Uv, tmp_path: Path) -> None:
    impatient = replace(uv, bounds=Bounds(0.001))
    with pytest.raises(BuildFailure) as caught:
        await Resolver(impatient, tmp_path, 60).resolve(parse_requirements(b"six"))
    assert caught.value.reason is FailureReason.TIMEOUT


async def test_every_preset_has_wheels_for_the_shipped_target(uv: Uv, tmp_path: Path) -> None:
    for name, pins in PRESETS.items():
        requirements = parse_requirements(preset_file(name))
        lock = await Resolver(replace(uv, target=Target()), tmp_path, 60).resolve(requirements)
        assert set(pins) <= {f"{package.name}=={package.version}" for package in lock.packages}


async def test_one_layer_can_be_made_twice_at_a_time(uv: Uv, workspace: Workspace) -> None:
    store = environments(workspace, uv)
    first, second = await asyncio.gather(store.layers.make([SIX]), store.layers.make([SIX]))
    assert first == second
    assert store.layers.find(SIX) == first[0]


def test_the_default_interpreter_is_no_virtual_environments() -> None:
    python = BuilderSettings().python
    assert python.is_relative_to(sys.base_prefix)
    assert python.exists()
