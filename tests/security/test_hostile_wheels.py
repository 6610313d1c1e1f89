"""Wheels made to do harm: each is refused by its name or is harmless, and nothing around it changes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sdist_makers import make_index, make_wheel
from servers import require
from vitrine_builder import wheels
from vitrine_builder.app import Parts, open_parts
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.lock import Lock
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.workspace import Workspace, open_workspace
from vitrine_common.drafts import remove_tree
from wheel_forge import Member, forge, overlap, row

pytestmark = pytest.mark.timeout(120)

SITE = "lib/python3.11/site-packages"
OWN = {"bin/python", "bin/python3", "bin/python3.11", "pyvenv.cfg", "environment.json"}
ZEROS = b"\0" * (24 << 20)
LINK, BLOCK, FIFO = stat.S_IFLNK, stat.S_IFBLK, stat.S_IFIFO

REFUSED: dict[str, list[Member]] = {
    "nul": [Member("evil.py\0.txt", b"x = 1")],
    "turned": [Member("\u202eyp.evil", b"")],
    "escape": [Member("a\x1b[31m\x1b]0;owned\x07.py", b"x = 1")],
    "newline": [Member("b\nc.py", b"x = 1")],
    "twice": [Member("dup.py", b"x = 1"), Member("dup.py", b"x = 2")],
    "linked-folder": [Member("away", b"/tmp", LINK, 0o777), Member("away/escaped.py", b"x = 1")],
    "file-and-folder": [Member("both", b"x"), Member("both/inside.py", b"x = 1")],
    "replaces-python": [Member("replaces_python-1.0.data/scripts/python", b"#!python\nprint(1)")],
    "unknown-place": [Member("unknown_place-1.0.data/bogus/x", b"x")],
    "brings-python": [Member("brings_python-1.0.data/data/bin/python", b"#!/bin/sh\n")],
    "two-in-one": [
        Member("six-1.17.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: six\nVersion: 1\n")
    ],
    "lies-of-size": [Member("claims.bin", b"x" * 100, size=1 << 40)],
    "long-name": [Member("x" * 300 + ".py", b"x = 1")],
    "deep": [Member("/".join(["d"] * 1500) + "/x.py", b"x = 1")],
    "too-many": [Member(f"m/{number}", b"") for number in range(1200)],
    "large-file": [Member("bomb.bin", ZEROS)],
}
HARMLESS: dict[str, tuple[list[Member], set[str]]] = {
    "up": ([Member("../../../../escaped.py", b"x"), Member("good/../../../../../escaped.py", b"x")], set()),
    "absolute": ([Member("/tmp/escaped.py", b"x")], set()),
    "backslash": (
        [Member("..\\..\\escaped.py", b"x"), Member("C:\\x.py", b"")],
        {"..\\..\\escaped.py", "C:\\x.py"},
    ),
    "dots-in-unicode": (
        [Member("\u2024\u2024/\uff0e\uff0e/up.py", b"x=1")],
        {"\u2024\u2024/\uff0e\uff0e/up.py"},
    ),
    "two-spellings": (
        [Member("caf\u00e9.py", b"a = 1"), Member("cafe\u0301.py", b"a = 2")],
        {"caf\u00e9.py", "cafe\u0301.py"},
    ),
    "two-cases": ([Member("Case.py", b"a = 1"), Member("case.py", b"a = 2")], {"Case.py", "case.py"}),
    "links": (
        [
            Member("link", b"/etc/passwd", LINK, 0o777),
            Member("link2", b"../" * 9 + b"etc", LINK, 0o777),
        ],
        {"link", "link2"},
    ),
    "devices": ([Member("disk", b"", BLOCK, 0o666), Member("pipe", b"", FIFO, 0o666)], {"disk", "pipe"}),
    "bits": ([Member("suid.py", b"x = 1", stat.S_IFREG, 0o6777)], {"suid.py"}),
    "data": (
        [
            Member("data-1.0.data/data/pyvenv.cfg", b"home = /tmp\n"),
            Member("data-1.0.data/data/environment.json", b"{}"),
            Member("data-1.0.data/data/../../../../escaped", b"x"),
            Member("data-1.0.data/headers/../../../../../../escaped", b"x"),
        ],
        set(),
    ),
    "poisoned": (
        [
            Member("poison.py", b"VALUE = 'source'\n"),
            Member("__pycache__/poison.cpython-311.pyc", b"poison"),
            Member(
                "poisoned-1.0.data/data/lib/python3.11/site-packages/__pycache__/poison.cpython-311.pyc", b"p"
            ),
        ],
        {"poison.py"},
    ),
}


class Bench:
    """A builder with one index, and what it must never change."""

    def __init__(self, root: Path, workspace: Workspace, parts: Parts) -> None:
        self.root, self.workspace, self.parts = root, workspace, parts

    @property
    def files(self) -> Path:
        return self.root / "files"

    async def make(self, *names: str) -> Path:
        """Build an environment of packages as they are in the index now."""
        make_index(self.root / "index", self.files)
        text = "".join(f"{name}==1.0\n" for name in names)
        lock: Lock = await self.parts.resolver.resolve(parse_requirements(text.encode(), "needs.txt"))
        return (await self.parts.store.materialise(lock)).path

    def outside(self) -> dict[str, str]:
        """Everything beside the store, the index and the honest environment, by content."""
        kept = {self.workspace.root, self.files, self.root / "index"}
        found: dict[str, str] = {}
        waiting = [self.root]
        while waiting:
            for path in waiting.pop().iterdir():
                if path not in kept:
                    found[str(path.relative_to(self.root))] = fingerprint(path)
                    waiting += [path] if path.is_dir() else []
        return found


def fingerprint(path: Path) -> str:
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
    return f"{status.st_mode:o} {content}"


def fingerprints(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): fingerprint(path) for path in sorted(root.rglob("*"))}


@asynccontextmanager
async def builder(root: Path, **settings: object) -> AsyncIterator[Bench]:
    os.umask(0o022)
    make_wheel(root / "files", "honest", "1.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_DEFAULT_INDEX", make_index(root / "index", root / "files"))
        for name in ("UV_FIND_LINKS", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL"):
            patch.delenv(name, raising=False)
        chosen = BuilderSettings.model_validate({"max_file_bytes": 16 << 20, "free_bytes": 0, **settings})
        # Deep enough that paths which lead up end within the test's own folder.
        with open_workspace(root / "a/b/c/d/environments") as workspace:
            sandboxes = BuildSandboxes(workspace.root / ".builder/sandboxes", chosen.build_limits)
            try:
                yield Bench(root, workspace, await open_parts(chosen, workspace, sandboxes))
            finally:
                await sandboxes.aclose()
                # Too deep for whoever cleans up after the tests.
                remove_tree(workspace.installer)


@pytest.fixture(scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with builder(tmp_path_factory.mktemp("hostile")) as opened:
        yield opened


@pytest.fixture
async def honest(bench: Bench) -> AsyncIterator[Path]:
    """An environment of an honest package; whatever else is built, it and all around the store stays."""
    path = await bench.make("honest")
    before, around = fingerprints(path), bench.outside()
    layers = {place.name: fingerprints(place) for place in bench.workspace.layers.iterdir()}
    yield path
    assert fingerprints(path) == before
    assert bench.outside() == around
    for name, content in layers.items():
        assert fingerprints(bench.workspace.layers / name) == content
    # Nobody waits for what is removed after a build.
    async with asyncio.timeout(20):
        while {entry.name for entry in bench.workspace.drafts.iterdir()} != {"lock", "sources"}:
            await asyncio.sleep(0.02)
    assert not Path("/tmp/escaped.py").exists()


def files_of(environment: Path) -> set[str]:
    """Return what a package brought: everything but what each environment has, its metadata and bytecode."""
    found = set()
    for path in environment.rglob("*"):
        relative = str(path.relative_to(environment))
        status = path.lstat()
        if relative in OWN or stat.S_ISDIR(status.st_mode):
            continue
        assert stat.S_ISREG(status.st_mode), f"{relative} is no file"
        assert status.st_mode & 0o7222 == 0, f"{relative} has mode {status.st_mode:o}"
        if ".dist-info/" not in relative and "__pycache__" not in relative:
            found.add(relative.removeprefix(f"{SITE}/"))
    return found


@pytest.mark.parametrize("name", REFUSED)
async def test_a_wheel_that_cannot_be_meant_well_is_refused_by_its_name(
    bench: Bench, honest: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "MOST_FILES", 1000)
    forge(bench.files, name.replace("-", "_"), REFUSED[name])
    with pytest.raises(BuildFailure) as caught:
        await bench.make("honest", name)
    failure = caught.value
    assert failure.culprit == f"{name}==1.0"
    assert f"`{name}==1.0`" in failure.sentence
    expected = FailureReason.DISK_FULL if name == "large-file" else FailureReason.INVALID_WHEEL
    assert failure.reason is expected, failure.log
    told = "".join((failure.sentence, *failure.log))
    assert not [letter for letter in told if ord(letter) < 32 or letter == "\u202e"], told
    assert str(bench.root) not in told
    assert honest.is_dir()


@pytest.mark.parametrize("name", HARMLESS)
async def test_what_a_wheel_puts_elsewhere_is_not_there(bench: Bench, honest: Path, name: str) -> None:
    members, expected = HARMLESS[name]
    forge(bench.files, name.replace("-", "_"), members)
    environment = await bench.make(name)
    assert files_of(environment) == expected
    assert os.readlink(environment / "bin/python") == "/opt/python/bin/python3.11"  # noqa: PTH115
    assert (environment / "pyvenv.cfg").read_text() == (honest / "pyvenv.cfg").read_text()
    if name == "poisoned":
        cached = environment / SITE / "__pycache__/poison.cpython-311.pyc"
        # Bytecode may follow later; a wheel's own never does.
        assert not cached.exists() or b"source" in cached.read_bytes()
    if name == "links":
        assert (environment / SITE / "link").read_text() == "/etc/passwd"


async def test_members_that_overlap_are_refused(bench: Bench, honest: Path) -> None:
    overlap(forge(bench.files, "overlapping", [Member("o.bin", b"\0" * (1 << 20))]), 300)
    with pytest.raises(BuildFailure) as caught:
        await bench.make("overlapping")
    assert caught.value.culprit == "overlapping==1.0"
    assert honest.is_dir()


async def test_an_archive_that_unpacks_without_end_leaves_the_disk_what_is_kept_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with builder(tmp_path) as bench:
        forge(bench.files, "endless", [Member(f"b{number}.bin", ZEROS[: 15 << 20]) for number in range(60)])
        left: list[int] = []

        def full(_workspace: Workspace, least: int) -> None:
            left.append(least)
            raise BuildFailure(FailureReason.DISK_FULL, "The builder's disk has nothing left.")

        make_index(bench.root / "index", bench.files)
        lock = await bench.parts.resolver.resolve(parse_requirements(b"endless==1.0\n", "needs.txt"))
        monkeypatch.setattr("vitrine_builder.layers._LOOK_SECONDS", 0.01)
        monkeypatch.setattr(Workspace, "require_space", full)
        with pytest.raises(BuildFailure) as caught:
            await bench.parts.store.layers.make(lock.packages)
        assert caught.value.reason is FailureReason.DISK_FULL
        assert caught.value.culprit == "endless==1.0"
        assert left
        assert not list(bench.workspace.layers.iterdir())


async def test_programs_are_named_as_programs_are_and_start_objects_only(bench: Bench, honest: Path) -> None:
    good = "[console_scripts]\ngood = json:dumps\n"
    for number, line in enumerate(
        ("ok = os; import sys:x", "python = os:getcwd", "ok2 = os:system('touch /x')", "new\n line = a:b c")
    ):
        forge(bench.files, f"entry{number}", [Member("e.py", b"")], entry_points=f"{good}{line}\n")
        with pytest.raises(BuildFailure) as caught:
            await bench.make(f"entry{number}")
        assert caught.value.culprit == f"entry{number}==1.0"
    names = "../../escaped = os:getcwd\nbad;name = os:getcwd\n$(id) = os:getcwd\n-rf = os:getcwd\n"
    forge(bench.files, "names", [Member("e.py", b"")], entry_points=good + names)
    try:
        environment = await bench.make("names")
    except BuildFailure as failure:
        assert failure.culprit == "names==1.0"  # noqa: PT017 - either answer is right
    else:
        assert files_of(environment) - {"e.py"} == {"bin/good"}
    scripts = [
        Member("scripts-1.0.data/scripts/ours", b"#!python -x; touch /x\nprint(1)\n"),
        Member("scripts-1.0.data/scripts/theirs", b"#!/bin/sh -c 'touch /x'\n"),
    ]
    forge(bench.files, "scripts", scripts)
    environment = await bench.make("scripts")
    assert (environment / "bin/ours").read_bytes() == b"#!/env/bin/python\nprint(1)\n"
    assert (environment / "bin/theirs").read_bytes().startswith(b"#!/bin/sh"), "starts in a sandbox only"
    assert honest.is_dir()


async def test_what_runs_at_the_start_of_python_runs_in_a_sandbox_only(bench: Bench, honest: Path) -> None:
    mark = bench.root / "ran"
    code = f"open({str(mark)!r}, 'w').write('ran')".encode()
    members = [
        Member("evil.pth", b"import os; " + code + b"; os.environ['PTH'] = 'ran'\n"),
        Member("sitecustomize.py", code + b"\n"),
        Member("usercustomize.py", code + b"\n"),
        Member("marshal.py", code + b"\n"),
    ]
    forge(bench.files, "starts", members)
    environment = await bench.make("starts")
    assert not mark.exists(), "a package's code ran while it was built"
    command = [
        *(
            require("bwrap"),
            "--ro-bind",
            "/usr",
            "/usr",
            "--tmpfs",
            "/opt",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
        ),
        *(
            "--ro-bind-try",
            "/lib",
            "/lib",
            "--ro-bind-try",
            "/lib64",
            "/lib64",
            "--unshare-all",
            "--clearenv",
        ),
        *("--ro-bind", sys.base_prefix, "/opt/python", "--ro-bind", str(environment), "/env"),
        *("/env/bin/python", "-c", "import os; print(os.environ.get('PTH'))"),
    ]
    await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert not mark.exists(), "it reached out of its sandbox"
    assert honest.is_dir()


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
async def test_packages_that_share_a_namespace_or_a_file_stay_apart_on_the_disk(
    bench: Bench, honest: Path, order: tuple[str, str]
) -> None:
    for name in ("first", "second"):
        members = [
            Member("shared/__init__.py", f"OWNER = '{name}'\n".encode()),
            Member(f"shared/{name}.py", b""),
        ]
        forge(bench.files, name, members)
    environment = await bench.make(*order)
    assert files_of(environment) == {"shared/__init__.py", "shared/first.py", "shared/second.py"}
    owner = (environment / SITE / "shared/__init__.py").read_text().split("'")[1]
    cached = environment / SITE / "shared/__pycache__/__init__.cpython-311.pyc"
    assert not cached.exists() or owner.encode() in cached.read_bytes()
    for name in order:
        alone = await bench.make(name)
        assert name in (alone / SITE / "shared/__init__.py").read_text()
    assert honest.is_dir()


async def test_one_packages_file_where_another_has_a_folder_is_a_conflict(bench: Bench, honest: Path) -> None:
    forge(bench.files, "folder", [Member("place/__init__.py", b"")])
    forge(bench.files, "plainfile", [Member("place", b"x")])
    with pytest.raises(BuildFailure) as caught:
        await bench.make("folder", "plainfile")
    assert caught.value.reason is FailureReason.CONFLICT
    assert caught.value.culprit in {"folder==1.0", "plainfile==1.0"}
    assert "a file of one is a folder of another" in caught.value.sentence
    assert honest.is_dir()


async def test_a_record_that_lies_and_metadata_that_commands_reach_nobody(bench: Bench, honest: Path) -> None:
    forge(bench.files, "liar", [Member("lie.py", b"x = 1")], record="lie.py,sha256=AAAA,99\n/etc/passwd,,\n")
    assert files_of(await bench.make("liar")) == {"lie.py"}
    words = "Summary: \x1b]0;owned\x07<script>alert(1)</script>\nLicense: \x1b[2J\n"
    forge(bench.files, "commands", [Member("c.py", b"")], metadata=words)
    steps: list[str] = []
    make_index(bench.root / "index", bench.files)
    lock = await bench.parts.resolver.resolve(parse_requirements(b"commands==1.0\n", "needs.txt"))
    await bench.parts.store.materialise(lock, lambda step: steps.append(f"{step}"))
    assert "\x1b" not in "".join(steps)
    assert "<script>" not in "".join(steps)
    assert honest.is_dir()


def test_the_forge_writes_what_it_is_told(tmp_path: Path) -> None:
    path = forge(tmp_path, "x", [Member("../up.py", b"x")])
    assert b"../up.py" in path.read_bytes()
    assert row(Member("a", b"")).startswith('"a",sha256=47DEQpj8HBSa')
