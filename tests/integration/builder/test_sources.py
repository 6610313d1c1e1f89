"""Sources of packages for real: source distributions, private indexes, local folders."""

from __future__ import annotations

import base64
import functools
import io
import logging
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sdist_makers import make_backend_sdist, make_index, make_sdist, make_wheel
from source_builds import LIMITS, SourceBuilds, source_builds
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.requirements import read_requirements
from vitrine_builder.sdists.sandbox import BuildSandboxes, SandboxFailure

USER, PASSWORD = "reader", "hunter2-for-the-index"
C_BACKEND = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    import subprocess, sys, sysconfig
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-I", sysconfig.get_paths()["include"], "fast.c", "-o", "fast.so"],
        check=True,
    )
    name = f"{NAME}-{VERSION}-cp311-cp311-linux_x86_64.whl"
    return write(folder, name, {NAME + ".so": open("fast.so", "rb").read()})
"""
C_SOURCE = "int fast(void) { return 7; }\n"


class Guarded(SimpleHTTPRequestHandler):
    """Serves a folder to whoever knows the password, and counts the pages that are asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []
    handler = functools.partial(type("Handler", (Guarded,), {"asked": asked}), directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
async def builds(tmp_path: Path) -> AsyncIterator[SourceBuilds]:
    files = tmp_path / "files"
    make_wheel(files, "plain", "1.0")
    make_wheel(files, "user", "1.0", ("sourced>=1",))
    make_wheel(files, "needy", "1.0", ("sourced<1",))
    make_wheel(files, "lost", "1.0", ("absent",))
    make_wheel(files, "late", "1.0", ("plain>=7",))
    make_backend_sdist(files, "sourced", "0.9")
    make_backend_sdist(files, "sourced", "1.5")
    make_backend_sdist(files, "fast", "1.0")
    index = make_index(tmp_path / "index", files)
    async with source_builds(tmp_path / "environments", {"UV_DEFAULT_INDEX": index}) as opened:
        yield opened


async def failure_of(builds: SourceBuilds, text: str) -> BuildFailure:
    with pytest.raises(BuildFailure) as caught:
        await builds.lock(text)
    return caught.value


def whole(builds: SourceBuilds) -> str:
    """Everything that the builder keeps outside of its private folder, as text."""
    private = builds.workspace.drafts
    files = (path for path in builds.workspace.root.rglob("*") if path.is_file())
    return "".join(
        path.read_bytes().decode("latin1")
        for path in files
        if not path.is_relative_to(private) and "uv/cache" not in str(path)
    )


async def test_what_another_package_needs_is_built_from_its_source(builds: SourceBuilds) -> None:
    lock = await builds.lock("plain\nuser==1.0\n")
    found = {package.name: (package.version, package.source is not None) for package in lock.packages}
    assert found == {"plain": ("1.0", False), "sourced": ("1.5", True), "user": ("1.0", False)}


async def test_a_source_is_built_once_and_every_time_alike(builds: SourceBuilds, tmp_path: Path) -> None:
    first = await builds.lock("sourced")
    made = builds.wheels[0].stat().st_ino
    again = await builds.lock("sourced==1.5\nplain")
    assert again.packages[1] == first.packages[0]
    assert builds.wheels[0].stat().st_ino == made
    index = (tmp_path / "index").as_uri()
    async with source_builds(tmp_path / "elsewhere", {"UV_DEFAULT_INDEX": index}) as other:
        assert await other.lock("sourced") == first


async def test_hashes_of_a_source_hold_it(builds: SourceBuilds) -> None:
    (package,) = (await builds.lock("sourced")).packages
    held = await builds.lock(f"sourced --hash={package.source}")
    assert held.packages[0].source == package.source
    failure = await failure_of(builds, f"sourced==1.5 --hash=sha256:{'0' * 64}")
    assert failure.reason is FailureReason.NO_WHEEL
    assert failure.sentence.startswith("needs.txt line 1: ")


async def test_a_c_extension_is_compiled_where_there_is_a_compiler(
    builds: SourceBuilds, tmp_path: Path
) -> None:
    assert shutil.which("gcc"), "the tests need gcc"
    backend = tmp_path / "c"
    path = make_backend_sdist(backend, "fast", "2.0", C_BACKEND)
    _with_file(path, "fast-2.0/fast.c", C_SOURCE)
    shutil.copy(path, tmp_path / "files")
    make_index(tmp_path / "index", tmp_path / "files")
    (package,) = (await builds.lock("fast==2.0")).packages
    assert package.source is not None
    with zipfile.ZipFile(builds.wheels[0]) as archive:
        assert archive.read("fast.so")[1:4] == b"ELF"


async def test_a_missing_compiler_is_said(builds: SourceBuilds, tmp_path: Path) -> None:
    backend = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("error: command 'gcc' failed: No such file or directory")
"""
    make_backend_sdist(tmp_path / "files", "fast", "3.0", backend)
    make_index(tmp_path / "index", tmp_path / "files")
    failure = await failure_of(builds, "\nfast==3.0")
    assert failure.sentence.startswith("needs.txt line 2: `fast==3.0` has no wheel")
    assert "needs a C compiler" in failure.sentence


async def test_without_bubblewrap_the_failure_says_so(
    builds: SourceBuilds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    failure = await failure_of(builds, "sourced")
    assert failure.reason is FailureReason.SOURCE_BUILD
    assert "bubblewrap is missing" in failure.sentence


async def test_two_builders_take_folders_of_their_own(tmp_path: Path) -> None:
    one, two = BuildSandboxes(tmp_path / "s", LIMITS), BuildSandboxes(tmp_path / "s", LIMITS)
    archive = make_sdist(tmp_path, "x", "1", {"pyproject.toml": "[build-system]\nrequires = ['a']\n"})
    try:
        for number, each in enumerate((one, two)):
            answer = tmp_path / f"answer{number}"
            answer.mkdir()
            (file,) = await each.run("inspect", archive, None, answer)
            assert file.read_text() == '["a"]'
        assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["0", "1"]
        broken = tmp_path / "broken.tar.gz"
        broken.write_bytes(b"no archive")
        (tmp_path / "answer2").mkdir()
        with pytest.raises(SandboxFailure, match="ReadError"):
            await one.run("inspect", broken, None, tmp_path / "answer2")
    finally:
        await one.aclose()
        await two.aclose()


async def test_a_private_index_gives_its_packages_and_its_password_goes_nowhere(
    builds: SourceBuilds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _relative(tmp_path)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")  # services quieten it
    with served(tmp_path) as (port, asked):
        address = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/index"
        environment = {"UV_DEFAULT_INDEX": address, "UV_HTTP_RETRIES": "0"}
        async with source_builds(tmp_path / "private", environment) as private:
            lock = await private.lock("user==1.0")
            assert [package.name for package in lock.packages] == ["sourced", "user"]
            absent = await failure_of(private, "user==9")
            assert absent.sentence.endswith("There is no version `user==9`; the index has 1.0.")
            seen = len(asked)
            await private.lock("user==1.0\nplain")
            assert [path for path in asked[seen:] if path.startswith("/index/user")] == []
            kept = whole(private)
        wrong = {**environment, "UV_DEFAULT_INDEX": address.replace(PASSWORD, "wrong-password")}
        async with source_builds(tmp_path / "wrong", wrong) as other:
            refused = await failure_of(other, "plain")
    assert refused.reason is FailureReason.INDEX_UNREACHABLE
    told = f"{kept}{lock}{absent.sentence}{absent.log}{refused.sentence}{refused.log}{caplog.text}"
    assert "HTTP Request" in caplog.text
    assert PASSWORD not in told
    assert "wrong-password" not in told


async def test_a_new_release_is_found_although_the_page_is_fresh(
    builds: SourceBuilds, tmp_path: Path
) -> None:
    _relative(tmp_path)
    with served(tmp_path) as (port, _asked):
        address = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/index"
        async with source_builds(tmp_path / "private", {"UV_DEFAULT_INDEX": address}) as private:
            await private.lock("plain")
            make_wheel(tmp_path / "files", "plain", "2.0")
            make_index(tmp_path / "index", tmp_path / "files")
            _relative(tmp_path)
            assert (await private.lock("plain>=1")).packages[0].version == "1.0"
            assert (await private.lock("plain==2.0")).packages[0].version == "2.0"


async def test_a_refresh_asks_the_index_again(builds: SourceBuilds, tmp_path: Path) -> None:
    assert (await builds.lock("plain")).packages[0].version == "1.0"
    make_wheel(tmp_path / "files", "plain", "2.0")
    make_index(tmp_path / "index", tmp_path / "files")
    assert (await builds.lock("plain")).packages[0].version == "1.0"
    requirements = read_requirements(b"plain", "needs.txt", (), "3.11")
    lock = await builds.resolver.resolve(requirements, refresh=True)
    assert lock.packages[0].version == "2.0"


async def test_a_local_folder_counts_beside_the_index_and_its_change_is_seen(
    builds: SourceBuilds, tmp_path: Path
) -> None:
    make_wheel(tmp_path / "wheels", "plain", "1.1")
    make_backend_sdist(tmp_path / "wheels", "local", "1.0")
    environment = {
        "UV_DEFAULT_INDEX": (tmp_path / "index").as_uri(),
        "UV_FIND_LINKS": str(tmp_path / "wheels"),
    }
    async with source_builds(tmp_path / "linked", environment) as linked:
        lock = await linked.lock("plain\nlocal")
        assert [package.version for package in lock.packages] == ["1.0", "1.1"]
        assert lock.packages[0].source is not None
        make_wheel(tmp_path / "wheels", "plain", "1.2")
        assert (await linked.lock("plain\nlocal")).packages[1].version == "1.2"


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("plain\nuser==1.0\nsourced<1", FailureReason.CONFLICT, "needs.txt line 3: "),
        ("plain\nneedy==1.0\nuser==1.0", FailureReason.CONFLICT, "needs.txt line 3: `user` needs"),
        ("plain<2\nlost", FailureReason.NO_SUCH_PACKAGE, "needs.txt line 2: No package is called `absent`"),
        ("\nlate", FailureReason.NO_SUCH_VERSION, "needs.txt line 2: There is no version `plain>=7`"),
        ("user>=2", FailureReason.NO_SUCH_VERSION, "needs.txt line 1: "),
        ("plain\n\nabsent", FailureReason.NO_SUCH_PACKAGE, "needs.txt line 3: "),
        ("plain==1.0\nplain==2.0", FailureReason.CONFLICT, "needs.txt line 1: "),
    ],
)
async def test_what_cannot_be_names_its_line(
    builds: SourceBuilds, text: str, reason: FailureReason, said: str
) -> None:
    failure = await failure_of(builds, text)
    assert failure.reason is reason, failure.sentence
    print("LOG", failure.log)
    assert failure.sentence.startswith(said)


async def test_a_lock_of_uv_gives_exactly_its_versions(builds: SourceBuilds, tmp_path: Path) -> None:
    make_wheel(tmp_path / "files", "plain", "2.0")
    make_index(tmp_path / "index", tmp_path / "files")
    text = """version = 1
[[package]]
name = "demo"
version = "0"
source = { virtual = "." }
dependencies = [{ name = "plain" }]
[[package]]
name = "plain"
version = "1.0"
source = { registry = "https://elsewhere.example/simple" }
"""
    lock = await builds.resolver.resolve(read_requirements(text.encode(), "uv.lock", (), "3.11"))
    assert [(package.name, package.version) for package in lock.packages] == [("plain", "1.0")]


def _with_file(path: Path, name: str, text: str) -> None:
    """Add a file to a compressed archive."""
    with tarfile.open(path) as archive:
        kept = [(entry, archive.extractfile(entry)) for entry in archive]
        contents = [(entry, file.read() if file else b"") for entry, file in kept]
    with tarfile.open(path, "w:gz") as archive:
        for entry, data in contents:
            archive.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))


def _relative(root: Path) -> None:
    """Make the links of the index relative, so that they can be served."""
    for page in (root / "index").glob("*/index.html"):
        page.write_text(page.read_text().replace(f"{root.as_uri()}/", "/"))
        # A server tells times by the second.
        later = page.stat().st_mtime + 5 * page.read_text().count("<a ")
        os.utime(page, (later, later))
