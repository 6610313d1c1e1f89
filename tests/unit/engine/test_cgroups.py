from __future__ import annotations

from pathlib import Path

import pytest

from vitrine_engine.process.cgroups import CONTROLLERS, Cgroups, Group, Mount, mounts

VERSION_1 = """\
30 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
33 24 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_version_1_hierarchies_are_found_where_the_process_is() -> None:
    found = mounts(VERSION_1, "4:memory:/a/b\n2:cpu,cpuacct:/\n7:devices:/x\n0::/\n")
    assert found == [
        Mount(1, frozenset({"memory"}), Path("/sys/fs/cgroup/memory/a/b"), Path("/sys/fs/cgroup/memory")),
        Mount(1, frozenset({"cpu", "cpuacct"}), *[Path("/sys/fs/cgroup/cpu,cpuacct")] * 2),
        Mount(2, frozenset({""}), *[Path("/sys/fs/cgroup/unified")] * 2),
    ]


def test_a_containers_mount_shows_only_a_part_of_the_hierarchy() -> None:
    line = "30 24 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
    (found,) = mounts(line, "0::/docker/1/service\n")
    assert found.home == Path("/sys/fs/cgroup/service")


def group(version: int, root: Path, files: dict[str, str]) -> Group:
    for name, text in files.items():
        (root / name).write_text(text)
    return Group(version, dict.fromkeys(CONTROLLERS, root))


def test_version_2_measures(tmp_path: Path) -> None:
    found = group(
        2,
        tmp_path,
        {
            "memory.current": "1000\n",
            "memory.peak": "3000\n",
            "memory.stat": "anon 200\nfile 500\nshmem 100\n",
            "memory.events": "low 0\noom 3\noom_kill 2\n",
            "pids.current": "7\n",
            "cpu.stat": "usage_usec 2500000\n",
        },
    )
    assert found.memory_bytes() == 600
    assert found.peak_bytes() == 2600
    assert found.out_of_memory_kills() == 2
    assert found.processes() == 7
    assert found.cpu_seconds() == 2.5


def test_version_1_measures(tmp_path: Path) -> None:
    found = group(
        1,
        tmp_path,
        {
            "memory.usage_in_bytes": "1000",
            "memory.max_usage_in_bytes": "3000",
            "memory.stat": "cache 1\ntotal_cache 500\ntotal_shmem 100\n",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            "cpuacct.usage": "1500000000",
        },
    )
    assert found.memory_bytes() == 600
    assert found.out_of_memory_kills() == 1
    assert found.cpu_seconds() == 1.5
    assert found.processes() is None
    found.reset_peak()
    assert (tmp_path / "memory.max_usage_in_bytes").read_text() == "0"


def test_without_groups_nothing_is_measured() -> None:
    found = Group(1, {})
    measures = (found.memory_bytes, found.peak_bytes, found.processes, found.cpu_seconds)
    assert [measure() for measure in measures] == [None] * 4
    assert found.out_of_memory_kills() is None
    assert found.entries == []
    assert found.remove()


@pytest.mark.parametrize("version", [1, 2])
def test_limits_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    homes = dict.fromkeys(CONTROLLERS, tmp_path)
    monkeypatch.setattr(Cgroups, "_detect", lambda *_: (version, homes))
    made = Cgroups("tag").create("box", memory_bytes=1000, processes=10, cpus=1.5)
    directory = tmp_path / "vitrine-tag-box"
    written = {path.name: path.read_text() for path in directory.iterdir()}
    assert made.entries == [directory / "cgroup.procs"]
    assert written["pids.max"] == "18"
    if version == 1:
        assert written["memory.limit_in_bytes"] == "1000"
        assert (written["cpu.cfs_quota_us"], written["cpu.cfs_period_us"]) == ("150000", "100000")
    else:
        assert (written["memory.max"], written["memory.swap.max"]) == ("1000", "0")
        assert written["cpu.max"] == "150000 100000"
