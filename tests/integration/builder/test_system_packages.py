"""Layers of system packages on a real base, from an archive of our own: found, shared, killed, refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandboxes import SMALL
from system_base import lend_base, open_store, write_index, write_package
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.system import Base, SystemStore, find_base
from vitrine_builder.workspace import Workspace, open_workspace
from vitrine_engine import Finished, Log, RunRequest, SandboxSpec, ScriptModel
from vitrine_engine.process import ProcessEngine

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    os.umask(0o022)
    with open_workspace(tmp_path / "environments") as workspace:
        yield workspace


@pytest.fixture
def repository(tmp_path: Path, system_base: Base) -> Path:
    """An archive with a program, a library that it needs, and packages that do not go together."""
    place = tmp_path / "archive"
    script = "#!/bin/sh\necho configured > /usr/share/tool/made\nrm /etc/host.conf\n"
    files = {"usr/bin/tool": "#!/bin/sh\ncat /usr/share/tool/made\n", "usr/share/tool/words": "hello"}
    write_package(place, "tool", "1.2", files=files, scripts={"postinst": script}, depends="libtool-data")
    write_package(place, "libtool-data", "3:0.5", files={"usr/share/libtool-data/x": "x"})
    write_package(place, "antitool", conflicts="tool")
    write_package(place, "slow", scripts={"postinst": "#!/bin/sh\nsleep 100\n"})
    write_index(place, system_base.release, system_base.architecture)
    return place


@pytest.fixture
def store(workspace: Workspace, repository: Path, system_base: Base) -> SystemStore:
    return open_store(workspace, repository, system_base)


async def test_a_layer_is_the_difference_and_its_root_is_what_a_sandbox_sees(
    store: SystemStore, system_base: Base, tmp_path: Path
) -> None:
    lock = await store.provide(("tool",))
    assert lock.packages == ("libtool-data=3:0.5", "tool=1.2")
    assert lock.base == system_base.digest
    layer = store.find(lock.digest)
    assert layer is not None
    with tarfile.open(layer.archive) as archive:
        names = set(archive.getnames())
    assert {"usr/bin/tool", "usr/share/tool/made", "etc/.wh.host.conf"} <= names
    assert not [
        name for name in names if name.startswith(("var/log/", "var/cache/apt/", "var/lib/apt/lists/"))
    ]
    assert len(names) < 60, sorted(names)
    assert (layer.rootfs / "usr/bin/python3.11").samefile(store.workspace.root / _in(system_base))

    engine = ProcessEngine(tmp_path / "engine")
    (tmp_path / "bundle").mkdir(mode=0o755)
    command = "sh /usr/bin/tool; id -u; touch /usr/x /etc/x /var/x; python version.py"
    (tmp_path / "bundle/version.py").write_text("import ssl, sys\nprint(sys.version_info[:2])\n")
    try:
        spec = SandboxSpec(id="s", system=layer.rootfs, bundle=tmp_path / "bundle", limits=SMALL)
        sandbox = await engine.start(spec)
        await sandbox.load(ScriptModel())
        events = [e async for e in sandbox.run(RunRequest(id="r", argv=("sh", "-c", command)))]
    finally:
        await engine.aclose()
    said = b"".join(e.data for e in events if isinstance(e, Log) and e.stream == "stdout").decode()
    wrong = b"".join(e.data for e in events if isinstance(e, Log) and e.stream == "stderr").decode()
    assert said == "configured\n1000\n(3, 11)\n", wrong
    assert wrong.count("Read-only file system") == 3
    assert isinstance(events[-1], Finished)


def _in(base: Base) -> str:
    return f".builder/base/{base.path.name}/rootfs/usr/bin/python3.11"


async def test_equal_lists_share_a_layer_across_builders_and_stores_give_equal_bytes(
    store: SystemStore, repository: Path, system_base: Base, tmp_path: Path
) -> None:
    with open_workspace(store.workspace.root) as second:
        other = open_store(second, repository, system_base)
        locks = await asyncio.gather(*(each.provide(("tool",)) for each in (store, other, store, other)))
    assert len(set(locks)) == 1
    layer = store.find(locks[0].digest)
    assert layer is not None
    inode = layer.archive.stat().st_ino
    assert await store.provide(("libtool-data", "tool=1.2")) == locks[0]
    assert layer.archive.stat().st_ino == inode, "the layer was made again"

    with open_workspace(tmp_path / "elsewhere") as elsewhere:
        far = open_store(elsewhere, repository, system_base)
        again = far.find((await far.provide(("tool",))).digest)
    assert again is not None
    assert (again.digest, again.diff_id) == (layer.digest, layer.diff_id)
    assert again.archive.read_bytes() == layer.archive.read_bytes()


async def test_archives_are_kept_and_a_source_that_is_gone_is_named(
    store: SystemStore, repository: Path, system_base: Base, workspace: Workspace
) -> None:
    await store.provide(("libtool-data",))
    shutil.rmtree(repository / "pool")
    shutil.rmtree(workspace.root / ".builder" / "system")
    assert (await store.provide(("libtool-data",))).packages == ("libtool-data=3:0.5",), "not from the cache"
    with pytest.raises(BuildFailure) as gone:
        await store.provide(("antitool",))
    assert gone.value.reason is FailureReason.INDEX_UNREACHABLE

    nowhere = open_store(workspace, repository / "nothing", system_base)
    (repository / "nothing").mkdir()
    with pytest.raises(BuildFailure) as unreachable:
        await nowhere.provide(("tool",))
    assert unreachable.value.reason is FailureReason.INDEX_UNREACHABLE, unreachable.value.log


@pytest.mark.parametrize(
    ("wanted", "reason", "culprit", "words"),
    [
        (("tol",), FailureReason.NO_SUCH_PACKAGE, "tol", "`tool`"),
        (("tool=9",), FailureReason.NO_SUCH_VERSION, "tool=9", "`1.2`"),
        (("tool", "antitool"), FailureReason.CONFLICT, "antitool", "`tool`"),
    ],
)
async def test_a_list_that_cannot_be_had_names_its_culprit(
    store: SystemStore, wanted: tuple[str, ...], reason: FailureReason, culprit: str, words: str
) -> None:
    with pytest.raises(BuildFailure) as failed:
        await store.provide(wanted)
    assert (failed.value.reason, failed.value.culprit) == (reason, culprit)
    assert words in failed.value.sentence


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from system_base import open_store
from vitrine_builder.system import load_base
from vitrine_builder.workspace import open_workspace
with open_workspace(Path(sys.argv[2])) as workspace:
    store = open_store(workspace, Path(sys.argv[3]), load_base(Path(sys.argv[4])))
    asyncio.run(store.provide(("slow",)))
"""


async def test_a_builder_that_is_killed_leaves_nothing_and_no_process(
    repository: Path, system_base: Base, tmp_path: Path
) -> None:
    root = tmp_path / "killed"
    arguments = [str(Path(__file__).parents[2]), str(root), str(repository), str(system_base.path)]
    builder = subprocess.Popen(  # noqa: ASYNC220 - killed soon
        [sys.executable, "-c", KILLED, *arguments]
    )
    inside = await _until(lambda: [p for p in psutil.process_iter() if _command(p) == ["sleep", "100"]])
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    await _until(lambda: not any(p.is_running() for p in inside))
    write_package(repository, "slow", scripts={"postinst": "#!/bin/sh\ntrue\n"})
    write_index(repository, system_base.release, system_base.architecture)
    with open_workspace(root) as workspace:
        assert list(workspace.drafts.parent.glob("*/draft_*")) == []
        assert not list((root / ".builder/system").glob("*/system.json"))
        fresh = open_store(workspace, repository, system_base, resolution_max_age_seconds=0)
        assert (await fresh.provide(("slow",))).packages == ("slow=1.0",)


async def test_two_builders_that_want_a_base_get_one(system_base: Base, tmp_path: Path) -> None:
    lend_base(system_base, tmp_path)
    found = find_base(tmp_path)
    assert found is not None
    assert (found.digest, found.packages) == (system_base.digest, system_base.packages)
    described = json.loads((found.path / "base.json").read_text())
    assert described["architecture"] == system_base.architecture
    assert not (found.rootfs / "etc/machine-id").exists()
    assert not (found.rootfs / "etc/apt/sources.list").exists()
    assert os.readlink(found.rootfs / "opt/python") == "../usr"  # noqa: PTH115 - as it stands


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


async def _until(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := find()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return found
