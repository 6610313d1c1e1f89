"""The base system for tests, made once on a machine, and Debian packages of our own making."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from servers import ServerFailed
from stack_desk import environments_cache
from vitrine_builder.failures import BuildFailure
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.system import Base, SystemStore, find_base, system_store
from vitrine_builder.workspace import Workspace, open_workspace


@pytest.fixture(scope="session")
def system_base() -> Base:
    """The base that every test uses, in the environments that are kept between runs; never written to."""
    return find_or_make_base()


def find_or_make_base() -> Base:
    """Return the base of this checkout's tests; the first call on a machine makes it."""
    os.umask(0o022)
    with open_workspace(environments_cache()) as workspace, ThreadPoolExecutor(1) as beside:
        try:
            # Beside the caller's event loop: fixtures of both kinds ask for the base.
            return beside.submit(asyncio.run, _require(workspace)).result()
        except BuildFailure as failure:
            text = "\n".join((*failure.log, failure.sentence))
            raise ServerFailed(f"no base system for the tests (make base):\n{text}") from failure


async def _require(workspace: Workspace) -> Base:
    return await system_store(BuilderSettings(), workspace, os.environ).bases.require()


def lend_base(base: Base, environments: Path) -> None:
    """Let another folder of environments have `base` too, without a copy where it can be linked."""
    place = environments / ".builder" / "base"
    place.mkdir(parents=True, exist_ok=True)
    for flags in (("-al",), ("-a",)):
        shutil.rmtree(place / base.path.name, ignore_errors=True)
        command = ["cp", *flags, "--", str(base.path), str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            break
    (place / "current").write_text(base.digest)
    assert find_base(environments) is not None


def open_store(workspace: Workspace, repository: Path, base: Base, **settings: object) -> SystemStore:
    """Return a store of system packages that come from `repository` and nowhere else."""
    lend_base(base, workspace.root)
    chosen = BuilderSettings.model_validate(
        {
            "apt_sources": f"file:{repository} {base.release} main",
            "apt_unsigned": True,
            "free_bytes": 0,
            **settings,
        }
    )
    return system_store(chosen, workspace, {})


def write_package(
    repository: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    depends: str = "",
    conflicts: str = "",
) -> Path:
    """Make a package with `files` and maintainer `scripts` in `repository`; call `write_index` after."""
    control = [
        f"Package: {name}",
        f"Version: {version}",
        "Architecture: all",
        "Maintainer: Nobody <n@example.org>",
    ]
    control += [f"Depends: {depends}"] if depends else []
    control += [f"Conflicts: {conflicts}"] if conflicts else []
    control += ["Description: made by a test"]
    text = "".join(f"{line}\n" for line in control)
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar({"control": text, **(scripts or {})}, executable=set(scripts or {})),
        "data.tar.gz": _tar(files or {}, executable=set()),
    }
    pool = repository / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    deb = pool / f"{name}_{version}_all.deb"
    deb.write_bytes(b"!<arch>\n" + b"".join(_member(key, data) for key, data in parts.items()))
    (pool / f"{deb.name}.control").write_text(text)
    return deb


def write_index(repository: Path, release: str, architecture: str) -> None:
    """Make `repository` an archive of the packages in it, signed by nobody."""
    stanzas = []
    for deb in sorted((repository / "pool").glob("*.deb")):
        data = deb.read_bytes()
        control = (repository / "pool" / f"{deb.name}.control").read_text()
        place = f"Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        stanzas.append(control + place)
    packages = "\n".join(stanzas).encode()
    folder = repository / "dists" / release
    binary = folder / "main" / f"binary-{architecture}"
    binary.mkdir(parents=True, exist_ok=True)
    (binary / "Packages").write_bytes(packages)
    digest = hashlib.sha256(packages).hexdigest()
    (folder / "Release").write_text(
        f"Suite: {release}\nCodename: {release}\nArchitectures: {architecture} all\nComponents: main\n"
        f"Date: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n"
        f" {digest} {len(packages)} main/binary-{architecture}/Packages\n"
    )


def _tar(files: Mapping[str, str], executable: set[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
            entry = tarfile.TarInfo(f"./{folder}/")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(data), 0o755 if name in executable else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _member(name: str, data: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return head + data + b"\n" * (len(data) % 2)
