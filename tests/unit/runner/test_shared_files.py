"""What versions on one host have in common: the bytes of equal files, on the disk and in the page cache."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runner_doubles import BlobsDouble
from vitrine_common.digests import sha256_bytes
from vitrine_common.states import Reason
from vitrine_runner import caching
from vitrine_runner.bundles import Bundles
from vitrine_runner.errors import RunFault

from .conftest import Push

MakeBundles = Callable[..., Bundles]
WEIGHTS = b"w" * 5000


async def test_two_versions_have_their_weights_once(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    bundles = make_bundles()
    one, two = [await push(files={"main.py": code, "w.bin": WEIGHTS}) for code in (b"1", b"22")]
    async with bundles.held(one) as first, bundles.held(two) as second:
        assert (first.directory / "w.bin").samefile(second.directory / "w.bin")
        assert not (first.directory / "main.py").samefile(second.directory / "main.py")
    assert blobs.fetched.count(sha256_bytes(WEIGHTS)) == 1
    assert bundles.size == len(WEIGHTS) + 3
    assert make_bundles().size == len(WEIGHTS) + 3


async def test_two_versions_at_once_fetch_their_weights_once(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    bundles = make_bundles()
    digests = [await push(files={"main.py": bytes([n]), "w.bin": WEIGHTS}) for n in range(5)]
    blobs.gate.clear()

    async def hold(digest: str) -> bytes:
        async with bundles.held(digest) as bundle:
            return (bundle.directory / "w.bin").read_bytes()

    holding = [asyncio.create_task(hold(digest)) for digest in digests]
    name = sha256_bytes(WEIGHTS).removeprefix("sha256:")
    fetching = bundles._local._fetching
    while name not in fetching or fetching[name].users < 5:
        await asyncio.sleep(0.001)
    holding.pop(0).cancel()  # the others go on
    blobs.gate.set()
    assert await asyncio.gather(*holding) == [WEIGHTS] * 4
    assert blobs.fetched.count(sha256_bytes(WEIGHTS)) == 1


async def test_a_program_and_data_of_equal_bytes_keep_their_modes(
    make_bundles: MakeBundles, push: Push
) -> None:
    bundles = make_bundles()
    digest = await push(files={"run.sh": b"same", "notes.txt": b"same", "main.py": b"same"})
    async with bundles.held(digest) as bundle:
        modes = {path.name: path.stat().st_mode & 0o777 for path in bundle.directory.iterdir()}
        assert modes == {"run.sh": 0o755, "notes.txt": 0o644, "main.py": 0o644}


async def test_bytes_stay_while_one_version_has_them(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    bundles = make_bundles(most_bytes=0)
    one, two = [await push(files={"main.py": code, "w.bin": WEIGHTS}) for code in (b"1", b"2")]
    async with bundles.held(two) as second:
        async with bundles.held(one):
            pass
        assert bundles.digests == [two]
        assert (second.directory / "w.bin").read_bytes() == WEIGHTS
        assert bundles.size == len(WEIGHTS) + 1
        async with bundles.held(one) as first:
            assert (first.directory / "w.bin").samefile(second.directory / "w.bin")
    assert blobs.fetched.count(sha256_bytes(WEIGHTS)) == 1
    assert bundles.size == 0
    assert bundles.digests == []


async def test_what_its_owner_deleted_goes_with_its_bytes_unless_another_version_has_them(
    make_bundles: MakeBundles, push: Push, tmp_path: Path
) -> None:
    bundles = make_bundles()
    one, two = [await push(files={"main.py": code, "w.bin": WEIGHTS}) for code in (b"1", b"2")]
    async with bundles.held(one), bundles.held(two):
        await bundles.forget([one])
        assert set(bundles.digests) == {one, two}, "nothing goes while it is used"
    assert bundles.digests == [two]
    assert bundles.size == len(WEIGHTS) + 1
    await bundles.forget([two, one])
    assert bundles.digests == []
    assert [path for path in (tmp_path / "bundles").rglob("*") if path.is_file()] == []


async def test_unpacked_files_are_shared_like_others(make_bundles: MakeBundles, push: Push) -> None:
    bundles = make_bundles()
    spec = {"model": {"fileType": "zip", "path": "gan", "command": "python run.py"}}
    digests = []
    for code in (b"1", b"2"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("gan/run.py", code)
            archive.writestr("gan/w.bin", WEIGHTS)
        digests.append(await push(spec, {"gan.zip": packed.getvalue()}))
    async with bundles.held(digests[0]) as one, bundles.held(digests[1]) as two:
        assert (one.directory / "gan/w.bin").samefile(two.directory / "gan/w.bin")
        assert (two.directory / "gan/run.py").read_bytes() == b"2"
    assert bundles.size == len(WEIGHTS) + 2, "the archives themselves are gone"
    await bundles.forget(digests[:1])
    assert bundles.size == len(WEIGHTS) + 1


async def test_a_damaged_file_is_fetched_again_though_other_versions_share_it(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    one, two = [await push(files={"main.py": code, "w.bin": WEIGHTS}) for code in (b"1", b"2")]
    bundles = make_bundles()
    async with bundles.held(one), bundles.held(two) as second:
        (second.directory / "w.bin").write_bytes(b"cut")
    bundles = make_bundles()
    for digest in (two, one):
        async with bundles.held(digest) as bundle:
            assert (bundle.directory / "w.bin").read_bytes() == WEIGHTS
    assert blobs.fetched.count(sha256_bytes(WEIGHTS)) == 2


async def test_after_a_start_of_the_machine_every_byte_is_verified(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = await push(files={"main.py": b"ok"}), await push(files={"main.py": b"1", "w.bin": WEIGHTS})
    bundles = make_bundles()
    async with bundles.held(good), bundles.held(bad) as bundle:
        with (bundle.directory / "w.bin").open("r+b") as file:  # as a disk does that was not written to
            file.write(bytes(4096))
    monkeypatch.setattr(caching, "boot_id", lambda: "the next")
    bundles = make_bundles()
    async with bundles.held(good), bundles.held(bad) as bundle:
        assert (bundle.directory / "w.bin").read_bytes() == WEIGHTS
    assert blobs.fetched.count(sha256_bytes(b"ok")) == 1
    assert blobs.fetched.count(sha256_bytes(WEIGHTS)) == 2


async def test_a_file_system_without_links_gets_copies(
    make_bundles: MakeBundles, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    bundles, digest = make_bundles(), await push(files={"main.py": b"1", "run.sh": b"2"})
    async with bundles.held(digest) as bundle:
        assert (bundle.directory / "run.sh").stat().st_mode & 0o777 == 0o755
        assert (bundle.directory / "main.py").read_bytes() == b"1"


async def test_a_full_disk_is_relieved_of_what_nobody_uses(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = make_bundles()
    old, used, new = [await push(files={"main.py": bytes([n]) * 100}) for n in range(3)]
    async with bundles.held(old):
        pass
    fetch = blobs.download_to

    async def download(digest: str, path: Path, size: int | None = None) -> None:
        if bundles.size > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        await fetch(digest, path, size)

    async with bundles.held(used):
        monkeypatch.setattr(blobs, "download_to", download)
        async with bundles.held(new) as bundle:
            assert (bundle.directory / "main.py").read_bytes() == bytes([2]) * 100
            assert set(bundles.digests) == {used, new}
            with pytest.raises(RunFault, match="does not fit on the runner's disk") as caught:
                async with bundles.held(old):
                    pass
            assert caught.value.reason is Reason.PLATFORM_ERROR
            assert set(bundles.digests) == {used, new}, "nothing of it is left"
    async with bundles.held(old):  # there is room again
        pass


async def test_files_on_their_way_are_known_before_they_are_here(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    bundles = make_bundles()
    digest = await push(files={"main.py": b"1", "deep/w.bin": WEIGHTS})
    blobs.gate.clear()
    async with bundles.coming(digest) as coming:
        assert [file.path for file in coming.manifest.files] == ["deep/w.bin", "main.py"]
        assert (coming.directory / "deep").is_dir()
        blobs.gate.set()
        bundle = await coming.files()
        assert bundle.directory == coming.directory
        assert (coming.directory / "deep/w.bin").read_bytes() == WEIGHTS
    assert bundle.directory.is_dir()


async def test_sets_that_nothing_uses_cost_no_memory_and_no_reading(
    make_bundles: MakeBundles, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = make_bundles()
    digests = [await push(files={"main.py": b"%d" % n}) for n in range(200)]
    for digest in digests:
        async with bundles.held(digest):
            pass
    assert len(bundles._entries) <= caching.DESCRIBED
    monkeypatch.setattr(caching, "read_record", lambda _home: pytest.fail("a manifest was read"))
    assert len(make_bundles().digests) == 200
