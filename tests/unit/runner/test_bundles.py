"""Bundles on this host: fetched once, verified, kept while used or while there is room."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runner_doubles import BlobsDouble
from vitrine_common.digests import sha256_bytes
from vitrine_common.states import Reason
from vitrine_runner.bundles import Bundles
from vitrine_runner.errors import RunFault

from .conftest import Push

MakeBundles = Callable[..., Bundles]


async def test_files_lie_where_the_manifest_says(make_bundles: MakeBundles, push: Push) -> None:
    digest = await push(files={"main.py": b"1", "deep/er/run.sh": b"2", "empty.txt": b""})
    async with make_bundles().held(digest) as bundle:
        files = {str(p.relative_to(bundle.directory)): p for p in bundle.directory.rglob("*") if p.is_file()}
        assert {name: path.read_bytes() for name, path in files.items()} == {
            "main.py": b"1",
            "deep/er/run.sh": b"2",
            "empty.txt": b"",
        }
        assert files["deep/er/run.sh"].stat().st_mode & 0o777 == 0o755
        assert files["main.py"].stat().st_mode & 0o777 == 0o644
        assert bundle.directories == {"deep", "deep/er"}
        assert bundle.digest == digest


async def test_several_at_once_share_one_download(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    bundles, digest = make_bundles(), await push()
    blobs.gate.clear()

    async def hold() -> Path:
        async with bundles.held(digest) as bundle:
            return bundle.directory

    holding = [asyncio.create_task(hold()) for _ in range(5)]
    await asyncio.sleep(0.05)
    holding.pop().cancel()
    blobs.gate.set()
    assert len(set(await asyncio.gather(*holding))) == 1
    assert len(blobs.fetched) == 1


async def test_an_interrupted_download_leaves_nothing(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble, tmp_path: Path
) -> None:
    bundles, digest = make_bundles(), await push()
    blobs.gate.clear()

    async def hold() -> None:
        async with bundles.held(digest):
            raise AssertionError("it cannot be here")

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0.05)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert bundles.digests == []
    assert not [path for path in (tmp_path / "bundles").rglob("*") if path.is_file()]
    blobs.gate.set()
    async with bundles.held(digest) as bundle:
        assert (bundle.directory / "main.py").is_file()


async def test_a_missing_file_is_named_and_can_come_back(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    bundles, digest = make_bundles(), await push(files={"main.py": b"1", "weights.bin": b"2"})
    lost = blobs.blobs.pop(sha256_bytes(b"2"))
    with pytest.raises(RunFault, match=r"`weights\.bin`") as caught:
        async with bundles.held(digest):
            pass
    assert caught.value.reason is Reason.PLATFORM_ERROR
    await blobs.put_bytes(lost)
    async with bundles.held(digest):
        pass


async def test_the_next_process_finds_them_unless_they_are_damaged(
    make_bundles: MakeBundles, push: Push, blobs: BlobsDouble
) -> None:
    digest = await push()
    async with make_bundles().held(digest):
        pass
    async with make_bundles().held(digest) as bundle:
        assert len(blobs.fetched) == 1
        (bundle.directory / "main.py").write_bytes(b"cut")
    async with make_bundles().held(digest) as bundle:
        assert len(blobs.fetched) == 2
        assert (bundle.directory / "main.py").read_bytes() == b"print(1)"


async def test_the_least_recently_used_goes_but_never_one_in_use(
    make_bundles: MakeBundles, push: Push
) -> None:
    bundles = make_bundles(most_bytes=2500)
    digests = [await push(files={"main.py": bytes([n]) * 1000}) for n in range(4)]
    async with bundles.held(digests[0]) as used:
        for digest in digests[1:]:
            async with bundles.held(digest):
                await asyncio.sleep(0.002)
        assert set(bundles.digests) == {digests[0], digests[3]}
        assert (used.directory / "main.py").is_file()
    bundles = make_bundles(most_bytes=2500)  # the next process knows what was used last
    async with bundles.held(digests[1]):
        assert set(bundles.digests) == {digests[0], digests[1]}
    assert bundles.size == 2000


async def test_a_packed_model_takes_the_place_of_its_archive(make_bundles: MakeBundles, push: Push) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("gan/run.py")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"run"))
    spec = {"model": {"fileType": "tar.gz", "path": "source/gan", "command": "python run.py"}}
    digest = await push(spec, {"source/gan.tar.gz": packed.getvalue()})
    async with make_bundles().held(digest) as bundle:
        assert (bundle.directory / "source/gan/run.py").read_bytes() == b"run"
        assert not (bundle.directory / "source/gan.tar.gz").exists()
        assert bundle.form["workdir"] == "source/gan"
    async with make_bundles().held(digest) as bundle:
        assert (bundle.directory / "source/gan/run.py").read_bytes() == b"run"
