"""Weights that versions share on a host: a run may do to them what it likes, and nobody else ever notices."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from runner_doubles import BlobsDouble
from sandboxes import MIB, SMALL, Bench, perform, python
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.digests import canonical_json
from vitrine_engine import Reason, Sandbox, ScriptModel
from vitrine_runner.bundles import Bundle, Bundles

WEIGHTS = random.Random(7).randbytes(3 * MIB + 17)
SPEC = {"name": "shared", "model": {"command": "python main.py"}}


class Shelves:
    """Two versions, of two owners perhaps, that have everything but their code in common."""

    def __init__(self, bundles: Bundles, versions: tuple[Bundle, Bundle]) -> None:
        self.bundles = bundles
        self.one, self.two = versions

    def state(self) -> dict[str, tuple[int, ...]]:
        """What is on the host's disk: every file with its bytes, mode, times and number of links."""
        root = self.one.directory.parents[2]
        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(root.rglob("*")):
            stat = path.stat()
            digest = hash(path.read_bytes()) if path.is_file() else 0
            found[str(path.relative_to(root))] = (
                digest,
                stat.st_ino,
                stat.st_mode,
                stat.st_uid,
                stat.st_size,
                stat.st_mtime_ns,
                stat.st_nlink,
            )
        return found


@pytest.fixture
async def shelves(tmp_path: Path) -> AsyncIterator[Shelves]:
    tmp_path.chmod(0o755)
    blobs = BlobsDouble()
    bundles = Bundles(tmp_path / "bundles", cast("BlobStore", blobs), 1 << 30)
    bundles.open()
    digests = []
    for code in (b"print('one')", b"SECRET = 'of the other version'"):
        files = {
            "main.py": code,
            "weights.bin": WEIGHTS,
            "deep/weights.bin": WEIGHTS,
            "run.sh": b"#!/bin/sh\n",
        }
        entries = [
            FileEntry(
                path=path, digest=await blobs.put_bytes(data), size=len(data), executable=path == "run.sh"
            )
            for path, data in files.items()
        ]
        manifest = Manifest(spec=SPEC, files=tuple(entries))
        digests.append(await blobs.put_bytes(canonical_json(manifest.model_dump(mode="json"))))
    async with AsyncExitStack() as holds:
        one, two = [await holds.enter_async_context(bundles.held(digest)) for digest in digests]
        assert (one.directory / "weights.bin").samefile(two.directory / "deep/weights.bin")
        yield Shelves(bundles, (one, two))


async def serving(bench: Bench, bundle: Bundle) -> Sandbox:
    sandbox = await bench.start(bundle=bundle.directory)
    await sandbox.load(ScriptModel())
    return sandbox


ATTACKS = {
    "rewrites": "open(name, 'r+b').write(b'EVIL')",
    "empties": "os.truncate(name, 0)",
    "lengthens": "os.truncate(name, os.path.getsize(name) + 1)",
    "appends": "open(name, 'ab').write(b'EVIL')",
    "changes its mode": "os.chmod(name, 0o777); open(name, 'r+b').write(b'EVIL')",
    "changes its times": "os.utime(name, (0, 0))",
    "maps it for writing": (
        "f = open(name, 'r+b'); m = mmap.mmap(f.fileno(), 0); m[:4] = b'EVIL'; m.flush(); m.close()"
    ),
    "maps it privately": (
        "f = open(name, 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY); m[:4] = b'EVIL'"
    ),
    "replaces it": "open('new', 'wb').write(b'EVIL'); os.replace('new', name)",
    "removes it": "os.unlink(name)",
    "renames it": "os.rename(name, 'elsewhere'); open('elsewhere', 'r+b').write(b'EVIL')",
    "links to it": "os.link(name, 'hard'); open('hard', 'r+b').write(b'EVIL')",
    "opens its descriptor again": (
        "fd = os.open(name, os.O_RDONLY); open(f'/proc/self/fd/{fd}', 'r+b').write(b'EVIL')"
    ),
    "punches a hole": (
        "fd = os.open(name, os.O_RDWR); "
        "assert ctypes.CDLL(None).fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096)) == 0"
    ),
    "copies over it": (
        "open('new', 'wb').write(b'EVIL'); a = os.open('new', os.O_RDONLY); b = os.open(name, os.O_RDWR);"
        "os.copy_file_range(a, b, 4)"
    ),
    "writes it as the bundle's": "open('/bundle/' + name, 'r+b').write(b'EVIL')",
    "reaches it by the bundle's descriptor": (
        "fd = os.open('/bundle/' + name, os.O_RDONLY); open(f'/proc/self/fd/{fd}', 'r+b').write(b'EVIL')"
    ),
    "moves the bundle's": "os.rename('/bundle/' + name, '/bundle/gone')",
}


async def test_what_a_run_does_to_its_weights_stays_its_own(bench: Bench, shelves: Shelves) -> None:
    before = shelves.state()
    one, two = await serving(bench, shelves.one), await serving(bench, shelves.two)
    expected = hashlib.sha256(WEIGHTS).hexdigest()
    look = "sha256sum weights.bin deep/weights.bin; ls | sort | xargs"
    for attack, code in ATTACKS.items():
        for name in ("weights.bin", "deep/weights.bin"):
            await perform(one, *python(f"import ctypes, mmap, os\nname = {name!r}\n{code}"))
        assert shelves.state() == before, attack
        for sandbox in (one, two):
            ran = await perform(sandbox, "sh", "-c", look)
            assert ran.stdout.split() == [
                *(expected, "weights.bin", expected, "deep/weights.bin"),
                *("deep", "main.py", "run.sh", "weights.bin"),
            ], attack


async def test_attacks_that_are_a_runs_right_do_work(bench: Bench, shelves: Shelves) -> None:
    """Else the test above would show nothing: a script may change its copy, as on its author's machine."""
    sandbox = await serving(bench, shelves.one)
    for attack, code in ATTACKS.items():
        ran = await perform(sandbox, *python(f"import ctypes, mmap, os\nname = 'weights.bin'\n{code}"))
        allowed = "bundle" not in attack
        assert (ran.outcome.reason is None) == allowed, (attack, ran.stderr)


async def test_another_versions_files_are_nowhere(bench: Bench, shelves: Shelves) -> None:
    one = await serving(bench, shelves.one)
    await serving(bench, shelves.two)
    code = """
import json, os
found = []
for root in ("/bundle", "/work", "/tmp", "/vitrine", "/dev", "/etc", "/var", "/run", "/mnt", "/srv"):
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            try:
                if os.path.isfile(path) and b"of the other version" in open(path, "rb").read(1 << 20):
                    found.append(path)
            except OSError: pass
above = sorted(os.listdir("/bundle/..")) == sorted(os.listdir("/"))
print(json.dumps([found, sorted(os.listdir("/bundle")), above]))
"""
    ran = await perform(one, *python(code))
    assert json.loads(ran.stdout) == [[], ["deep", "main.py", "run.sh", "weights.bin"], True]


async def test_mapped_weights_may_be_larger_than_the_runs_memory(bench: Bench) -> None:
    """Read through the private layer they are pages of the host's file: no copy, nothing that must stay.

    The docker engine does copy a bundle into memory, which it adds to what the run may use.
    """
    size = 192 * MIB
    weights = random.Random(1).randbytes(MIB) * (size // MIB)
    sandbox = await bench.script(
        {"weights.bin": weights}, limits=replace(SMALL, memory_bytes=96 * MIB, disk_bytes=8 * MIB)
    )
    code = f"""
import hashlib, mmap, os
with open("weights.bin", "rb") as file:
    for access in (mmap.ACCESS_READ, mmap.ACCESS_COPY):
        with mmap.mmap(file.fileno(), 0, access=access) as mapped:
            print(hashlib.sha256(mapped).hexdigest())
            if access == mmap.ACCESS_COPY:
                mapped[:4] = b"mine"
work = os.statvfs("/work")
print((work.f_blocks - work.f_bfree) * work.f_frsize // {MIB})
"""
    ran = await perform(sandbox, *python(code))
    digest = hashlib.sha256(weights).hexdigest()
    in_memory = size // MIB if bench.engine.name == "docker" else 0
    assert (ran.outcome.reason, ran.stdout.split()) == (None, [digest, digest, str(in_memory)]), ran.stderr
    changed = await perform(sandbox, *python("import os; os.utime('weights.bin')"))
    copies = {Reason.DISK_FULL, Reason.USER_ERROR} if bench.engine.name == "process" else {None}
    assert changed.outcome.reason in copies, "a change is what copies the file"
