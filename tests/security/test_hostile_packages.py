"""Debian packages whose scripts do what they like: they reach their own tree and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from system_base import open_store, write_index, write_package
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.system import Base, SystemStore
from vitrine_builder.workspace import Workspace, open_workspace
from vitrine_common.debian import PackageListError, parse_packages

pytestmark = pytest.mark.timeout(300)

HOSTILE = r"""#!/bin/sh
mkdir -p /opt/seen && exec >/opt/seen/report 2>&1
echo "uid $(id -u) map $(cat /proc/self/uid_map)"
env | sort >/opt/seen/environment
for file in SECRET NEIGHBOUR /root/.ssh /work /vitrine; do
  ls -d "$file" && echo "FOUND $file"
done
ls /proc | grep -c '^[0-9]*$' >/opt/seen/processes
ls -l /proc/self/fd >/opt/seen/descriptors
cat /proc/net/dev | grep -c : >/opt/seen/interfaces
(exec 5<>/dev/tcp/127.0.0.1/1) 2>/dev/null; true
mount -t tmpfs none /mnt && echo mounted
unshare -r true && echo unshared
mknod /opt/seen/disk b 254 0
echo 1 >/proc/sys/kernel/core_pattern && echo "wrote a sysctl"
echo c >/proc/sysrq-trigger && echo "wrote sysrq"
echo changed >/etc/hostile && echo changed >>/usr/bin/python3.11.note
ln -s / /opt/seen/root && ln -sfn /proc/self /opt/seen/self
rm -rf /var/log && ln -s OUTSIDE /var/log
rm -rf /var/cache/apt && ln -s OUTSIDE /var/cache/apt
rm -rf /tmp/x; chmod 4755 /bin/ls
setsid sh -c 'while :; do sleep 1; : MARKER; done' &
nohup sleep 9876 >/dev/null 2>&1 &
exit 0
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    os.umask(0o022)
    with open_workspace(tmp_path / "environments") as workspace:
        yield workspace


@pytest.fixture
def store(workspace: Workspace, repository: Path, system_base: Base) -> SystemStore:
    return open_store(workspace, repository, system_base, system_timeout_seconds=60)


def fingerprint(tree: Path) -> dict[str, tuple[int, int, int, int]]:
    """Inode, change time, size and mode of everything below `tree`, but for files' link counts."""
    paths = [tree, *tree.rglob("*")]
    return {str(p): (s.st_ino, s.st_mtime_ns, s.st_size, s.st_mode) for p in paths for s in [p.lstat()]}


async def test_a_script_sees_and_changes_nothing_but_its_tree(
    store: SystemStore, repository: Path, system_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, outside = tmp_path / "secret", tmp_path / "outside"
    secret.write_text("the operator's")
    (outside / "kept").mkdir(parents=True)
    monkeypatch.setenv("VITRINE_S3_SECRET_KEY", "hunter2")
    neighbour = store.workspace.root / ".builder" / "layers"
    script = HOSTILE.replace("SECRET", str(secret)).replace("OUTSIDE", str(outside))
    script = script.replace("NEIGHBOUR", str(neighbour))
    write_package(repository, "hostile", files={"usr/share/hostile": "data"}, scripts={"postinst": script})
    write_index(repository, system_base.release, system_base.architecture)
    before = fingerprint(system_base.rootfs)

    lock = await store.provide(("hostile",))

    layer = store.find(lock.digest)
    assert layer is not None
    seen = layer.rootfs / "opt/seen"
    report = (seen / "report").read_text()
    assert re.search(r"^uid 0 map +0 +[1-9]\d* +1$", report, re.MULTILINE), report
    for word in ("FOUND", "mounted", "unshared", "wrote"):
        assert word not in report, report
    environment = (seen / "environment").read_text()
    assert "hunter2" not in environment
    assert "VITRINE" not in environment
    assert int((seen / "processes").read_text()) < 30
    assert str(tmp_path) not in (seen / "descriptors").read_text()
    assert (seen / "interfaces").read_text().strip() == "1"
    assert not (seen / "disk").exists()
    assert os.readlink(seen / "root") == "/"  # noqa: PTH115 - as it stands
    assert (outside / "kept").is_dir(), "a link that a script left was followed on the host"
    assert not [p for p in psutil.process_iter() if "9876" in _command(p)]
    assert fingerprint(system_base.rootfs) == before, "the base was changed"
    assert not [p for p in layer.rootfs.rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o6000]
    assert list(store.workspace.drafts.iterdir()) == [store.workspace.drafts / "lock"]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


async def test_a_script_that_fails_and_one_that_never_ends_are_named_and_leave_nothing(
    workspace: Workspace, repository: Path, system_base: Base
) -> None:
    write_package(repository, "broken", scripts={"postinst": "#!/bin/sh\necho this is why >&2\nexit 7\n"})
    write_package(repository, "endless", scripts={"postinst": "#!/bin/sh\nsleep 4321\n"})
    write_index(repository, system_base.release, system_base.architecture)
    store = open_store(workspace, repository, system_base, system_timeout_seconds=20)
    with pytest.raises(BuildFailure) as failed:
        await store.provide(("broken",))
    assert (failed.value.reason, failed.value.culprit) == (FailureReason.INSTALL_FAILED, "broken")
    assert "this is why" in "\n".join(failed.value.log)

    impatient = open_store(workspace, repository, system_base, system_timeout_seconds=4)
    with pytest.raises(BuildFailure) as late:
        await impatient.provide(("endless",))
    assert late.value.reason is FailureReason.TIMEOUT
    assert not [p for p in psutil.process_iter() if "4321" in _command(p)]
    system = workspace.root / ".builder" / "system"
    assert not list(system.iterdir())
    assert list(workspace.drafts.iterdir()) == [workspace.drafts / "lock"]


async def test_archives_that_are_not_what_their_list_says_are_refused(
    store: SystemStore, repository: Path, system_base: Base
) -> None:
    deb = write_package(repository, "swapped", files={"usr/share/swapped": "good"})
    write_index(repository, system_base.release, system_base.architecture)
    data = bytearray(deb.read_bytes())
    data[-40] ^= 1
    deb.write_bytes(data)
    with pytest.raises(BuildFailure):
        await store.provide(("swapped",))
    system = store.workspace.root / ".builder" / "system"
    assert not list(system.glob("*/system.json"))


@pytest.mark.parametrize(
    "line",
    [
        "-y",
        "--allow-unauthenticated",
        "-o=Dpkg::Pre-Invoke::=id",
        "libgl1-",
        "libgl1/sid",
        "libgl1:i386",
        "./evil.deb",
        "/etc/passwd",
        "a;id",
        "$(id)",
        "`id`",
        "lib*",
        "~nlibgl1",
        "?name(x)",
        "LibGL1",
        "task^",
        "libgl1=",
        "libgl1=1 -y",
        "libgl1=$(id)",
        "libgl1=*",
        "x",
        "é-name",
    ],
)
def test_what_is_no_name_of_a_package_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(PackageListError, match=r"^packages.txt line 2: "):
        parse_packages(f"libgl1\n{line}\n".encode(), "packages.txt")


def test_json_description_names_exactly_what_is_in_a_layer(system_base: Base) -> None:
    described = json.loads((system_base.path / "base.json").read_text())
    assert described["digest"] == system_base.digest
    assert described["packages"]["python3"].startswith("3.11")
