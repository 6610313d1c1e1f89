"""Nothing survives: neither a stopped sandbox, nor a service that was killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vitrine_engine
import vitrine_harness
from sandboxes import Bench, perform
from vitrine_engine import Isolation, Log, RunRequest, SandboxSpec, ScriptModel, StartError
from vitrine_engine.process import ProcessEngine
from vitrine_engine.process.bubblewrap import MOUNT_POINTS
from vitrine_engine.process.cgroups import Cgroups, below
from vitrine_engine.process.layout import Layout
from vitrine_engine.process.meter import descendants

SERVICE = """
import asyncio, sys
from pathlib import Path
from vitrine_engine import RunRequest, SandboxSpec, ScriptModel
from vitrine_engine.process import ProcessEngine

async def main():
    engine = ProcessEngine(Path(sys.argv[1]))
    sandbox = await engine.start(SandboxSpec(id="orphan"))
    await sandbox.load(ScriptModel())
    argv = ("sh", "-c", "setsid sleep 600 & echo up; exec sleep 600")
    async for event in sandbox.run(RunRequest(id="long", argv=argv)):
        print(sandbox.pid, flush=True)

asyncio.run(main())
"""


def groups(state: Path) -> list[Path]:
    """The control groups that belong to engines on a state directory."""
    return below(Path("/sys/fs/cgroup"), f"vitrine-{_tag(state)}-")


def _tag(state: Path) -> str:
    layout = Layout(state)
    layout.close()
    return layout.tag


def wait_gone(pids: list[int]) -> None:
    """Return once none of the processes is alive; zombies of a killed parent count as gone."""
    deadline = time.monotonic() + 20
    while any(_is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "processes are still alive"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def mounts() -> set[tuple[str, str]]:
    """What is mounted on this host: sources with options, and where."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return {(f"{source} {options}", point) for source, point, _, options, *_ in lines}


def is_of_sandboxes(source: str, point: str, folder: Path) -> bool:
    """Whether a mount is at a place that sandboxes have, or of this test: others make mounts meanwhile."""
    top = "/" + point.split("/")[1]
    return point in MOUNT_POINTS or top in {"/vitrine", "/env", "/bundle"} or str(folder) in source + point


async def test_a_stopped_sandbox_leaves_nothing(tmp_path: Path) -> None:
    before = mounts()
    engine = ProcessEngine(tmp_path / "state")
    sandbox = await engine.start(SandboxSpec(id="one"))
    await sandbox.load(ScriptModel())
    pids: list[int] = []
    async for event in sandbox.run(RunRequest(id="r", argv=("sh", "-c", "sleep 600 & echo; exec sleep 600"))):
        if isinstance(event, Log):
            pids = descendants(sandbox.pid or 0)
            assert len(pids) >= 5
            await sandbox.stop()
    wait_gone(pids)
    await engine.aclose()
    assert groups(tmp_path / "state") == []
    assert not (tmp_path / "state" / "spool" / "one").exists()
    left = [
        (source, point) for source, point in mounts() - before if is_of_sandboxes(source, point, tmp_path)
    ]
    assert left == []


def test_sandboxes_die_with_a_killed_service_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, state], stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        launcher = int(service.stdout.readline())
        pids = descendants(launcher)
        assert len(pids) >= 5
        service.send_signal(signal.SIGKILL)
    wait_gone(pids)
    Cgroups(_tag(state))
    assert groups(state) == []
    engine = ProcessEngine(state)
    asyncio.run(engine.aclose())


async def test_a_state_directory_has_one_engine(tmp_path: Path) -> None:
    first = ProcessEngine(tmp_path)
    with pytest.raises(StartError, match="used by another engine"):
        ProcessEngine(tmp_path)
    await first.aclose()
    second = ProcessEngine(tmp_path)
    await second.aclose()
    with pytest.raises(StartError, match="closed"):
        await second.start(SandboxSpec(id="late"))


async def test_a_sandbox_that_dies_by_itself_is_noticed(bench: Bench) -> None:
    sandbox = await bench.script()
    await bench.strike(sandbox)
    await sandbox.wait_exited()
    assert not sandbox.alive
    assert (await perform(await bench.script(), "true")).outcome.reason is None


async def test_descriptors_are_reused_without_harm(bench: Bench) -> None:
    """A dead sandbox's socket number goes to the next one: the loop must not remember it as the old one's."""
    for _ in range(12):
        sandbox = await bench.script()
        await bench.strike(sandbox)
        await sandbox.wait_exited()
        async with asyncio.timeout(20):
            following = await bench.script()
        await following.stop()


async def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="apt-get install bubblewrap"):
        ProcessEngine(tmp_path / "a", bwrap="no-such-launcher")
    engine = ProcessEngine(tmp_path / "b")
    with pytest.raises(StartError, match="nowhere does not exist"):
        await engine.start(SandboxSpec(id="x", bundle=tmp_path / "nowhere"))
    await engine.aclose()


async def test_probe_reports_what_holds(bench: Bench) -> None:
    found = await bench.engine.probe()
    assert isinstance(found, Isolation)
    expected = {"user", "mount", "pid", "network", "ipc", "uts", "cgroup"}
    if found.engine == "docker":
        # Its users are those of the host, numbers without names; what follows from it is said.
        expected.remove("user")
        assert any("user namespace" in warning for warning in found.warnings)
    assert found.engine == bench.engine.name
    assert set(found.namespaces) == expected
    assert found.seccomp
    for held, weak in ((found.memory, "watcher"), (found.user_ids, "shared"), (found.work_directory, "copy")):
        assert (held == weak) <= bool(found.warnings)


NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
PLAIN_USER = """
import asyncio, os, sys
from pathlib import Path
from vitrine_engine import *
from vitrine_engine.process import ProcessEngine

async def main():
    root = Path(sys.argv[1])
    engine = ProcessEngine(root / "state")
    isolation = await engine.probe()
    assert isolation.user_ids == "shared" and isolation.warnings, isolation
    assert set(isolation.namespaces) >= {"user", "mount", "pid", "network", "ipc"}, isolation
    (root / "bundle").mkdir()
    (root / "bundle" / "w").write_text("weights")
    limits = Limits(memory_bytes=128 << 20, disk_bytes=8 << 20)
    sandbox = await engine.start(SandboxSpec(id="plain", bundle=root / "bundle", limits=limits))
    await sandbox.load(ScriptModel())

    async def run(*argv):
        said = b""
        async for event in sandbox.run(RunRequest(id="r", argv=argv, wall_seconds=30)):
            said += event.data if isinstance(event, Log) and event.stream == "stdout" else b""
        return event.outcome.reason, said.decode().strip()

    found = [
        await run("sh", "-c", "echo bad > w; cat w"),
        await run("sh", "-c", "cat w; touch /bundle/x /dev/x 2>/dev/null || echo ' refused'"),
        await run("sh", "-c", "grep CapBnd /proc/self/status; umount /work 2>/dev/null && echo out"),
        await run("python", "-c", "x = []\\nwhile True: x.append(bytearray(1_000_000))"),
        await run("python", "-c", "print('works')"),
    ]
    await sandbox.stop()
    await engine.aclose()
    print([(reason and reason.value, said) for reason, said in found])

asyncio.run(main())
"""


PLAIN_ZYGOTE = """
import asyncio, sys
from pathlib import Path
from vitrine_engine import *
from vitrine_engine.process import ProcessEngine

async def main():
    root = Path(sys.argv[1])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment, bundle = root / "env", root / "bundles" / "v" / "files"
    (environment / "lib" / version / "site-packages").mkdir(parents=True)
    (environment / "lib" / version / "site-packages" / "numpy.py").write_text("")
    (environment / "bin").mkdir()
    for name in (version, "python3", "python"):
        (environment / "bin" / name).symlink_to(f"/opt/python/bin/{version}")
    (environment / "pyvenv.cfg").write_text("home = /opt/python/bin\\n")
    bundle.mkdir(parents=True)
    (bundle / "w").write_text("weights")
    (bundle / "x.py").write_text("import numpy")
    engine = ProcessEngine(root / "state", bundles=root / "bundles")
    limits = Limits(memory_bytes=128 << 20, disk_bytes=8 << 20)
    spec = SandboxSpec(id="plain", environment=environment, bundle=bundle, owner="o", limits=limits)
    await engine.warm(spec)
    sandbox = await engine.start(spec)
    await sandbox.load(ScriptModel())

    async def run(code):
        said = b""
        async for event in sandbox.run(RunRequest(id="r", argv=("python", "-c", code), wall_seconds=30)):
            said += event.data if isinstance(event, Log) and event.stream == "stdout" else b""
        return event.outcome.reason, said.decode().strip()

    found = [
        await run("import sys; print('numpy' in sys.modules, open('w').read()); open('w', 'w').write('bad')"),
        await run(
            "import os; print(open('w').read(), sorted(os.listdir('/bundle')), os.listdir('/vitrine/shared'))"
        ),
        await run("x = []\\nwhile True: x.append(bytearray(1_000_000))"),
        await run("print(open('/proc/self/status').read().count('0000000000000000'))"),
    ]
    await sandbox.stop()
    (zygote,) = engine.figures().zygotes
    await engine.aclose()
    print([*((reason and reason.value, said) for reason, said in found), zygote.forks])

asyncio.run(main())
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; those of pytest are closed again by each session that starts."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_an_ordinary_user_has_an_engine_too(open_folder: Path) -> None:
    """Without root there are no own users and perhaps no control groups; all else holds."""
    assert _said_by_an_ordinary_user(PLAIN_USER, open_folder) == [
        (None, "bad"),
        (None, "weights refused"),
        ("user_error", "CapBnd:\t0000000000000000"),
        ("out_of_memory", ""),
        (None, "works"),
    ]


def test_an_ordinary_user_has_zygotes_too(open_folder: Path) -> None:
    """They are looked at from outside by a service that is no root, either."""
    assert _said_by_an_ordinary_user(PLAIN_ZYGOTE, open_folder) == [
        (None, "True weights"),
        (None, "weights ['w', 'x.py'] []"),
        ("out_of_memory", ""),
        (None, "8"),
        4,
    ]


def _said_by_an_ordinary_user(program: str, folder: Path) -> Any:
    python = sys.executable if os.geteuid() != 0 else _python_for_everyone()
    libraries, work = folder / "lib", folder / "work"
    for package in (vitrine_engine, vitrine_harness):
        source = Path(package.__file__ or "").parent
        shutil.copytree(source, libraries / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(vitrine_harness.__file__ or "").parent.parent / "vitrine_metrics.py", libraries)
    work.mkdir()
    work.chmod(0o777)
    done = subprocess.run(
        [python, "-c", program, work],
        **(NOBODY if os.geteuid() == 0 else {}),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(libraries)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)


def _python_for_everyone() -> str:
    """A Python that users other than root can execute, and of this one's version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [
        os.path.realpath(sys.executable),
        f"/usr/local/bin/python{version}",
        f"/usr/bin/python{version}",
    ]
    for candidate in candidates:
        command = [candidate, "-c", "import asyncio, ctypes"]
        try:
            done = subprocess.run(command, **NOBODY, capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    raise AssertionError(f"no Python {version} that users other than root can execute: install python3")
