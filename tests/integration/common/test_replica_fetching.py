"""What a host does with replicas: bytecode that comes late, what was left half, and what blocks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from backports import zstd

from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus
from vitrine_common.documents import Environment
from vitrine_common.drafts import own_drafts
from vitrine_common.errors import Unavailable
from vitrine_common.replicas import AREA, Archive, BytecodePart, LayerPart, Replica, ReplicaFetcher, fetching
from vitrine_common.settings import S3Settings
from vitrine_common.shelf import EnvironmentGone, Shelf
from vitrine_common.store import Database

pytestmark = pytest.mark.timeout(60)
NAME, LAYER = "a" * 64, "b" * 64
DIGEST = f"sha256:{NAME}"
CACHE = "lib/pkg/__pycache__/m.pyc"


@dataclass
class Origin:
    """A builder elsewhere, as far as a host sees it: documents and archives."""

    bus: Bus
    database: Database
    blobs: BlobStore

    async def offer(self, *, complete: bool) -> str:
        """Pack the environment, with bytecode or without; return the replica's name."""
        bytecode = None
        if complete:
            made = await self._archive({"bytecode.json": "{}", f"tree/{CACHE}": "pyc"})
            bytecode = BytecodePart(name="bytecode", archive=made)
        layer = await self._archive({"layer.json": "{}", "tree/lib/pkg/m.py": "x = 1\n"})
        replica = Replica(
            description=json.dumps({"layers": [LAYER]}),
            completion="{}" if complete else None,
            files={"pyvenv.cfg": "home = /opt/python/bin\n"},
            links={"bin/python": "/opt/python/bin/python3.11"},
            layers=(LayerPart(name=LAYER, archive=layer, bytecode=bytecode),),
        )
        name = await self.blobs.put_bytes(replica.model_dump_json().encode())
        environments = self.database.collection(Environment)
        if await environments.update({"_id": DIGEST}, {"replica_digest": name}) is None:
            made_of = {"lock": "", "packages": 1, "python": "3.11", "replica_digest": name}
            await environments.insert(Environment(id=DIGEST, **made_of))
        return name

    def shelf(self, fetcher: ReplicaFetcher) -> Shelf:
        return Shelf(fetcher.store, self.bus, self.database, fetcher)

    async def _archive(self, files: dict[str, str]) -> Archive:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            made: set[str] = set()
            for path, text in files.items():
                for above in reversed([str(each) for each in Path(path).parents][:-1]):
                    if above not in made:
                        made.add(above)
                        folder = tarfile.TarInfo(above)
                        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                        archive.addfile(folder)
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(text), 0o444
                archive.addfile(entry, io.BytesIO(text.encode()))
        data = zstd.compress(packed.getvalue())
        return Archive(digest=await self.blobs.put_bytes(data), size=len(data), unpacked=packed.tell())


@pytest.fixture
async def origin(
    bus: Bus, opened: Callable[[str], Database], s3_settings: S3Settings
) -> AsyncIterator[Origin]:
    blobs = BlobStore(s3_settings, AREA)
    await blobs.ensure_bucket()
    database = opened("builder")
    await database.collection(Environment).delete({"_id": DIGEST})
    yield Origin(bus, database, blobs)
    await blobs.aclose()


@pytest.fixture
async def fetcher(origin: Origin, s3_settings: S3Settings, tmp_path: Path) -> AsyncIterator[ReplicaFetcher]:
    made = ReplicaFetcher(tmp_path / "host", origin.database, BlobStore(s3_settings, AREA), 1 << 40)
    assert made.open()
    yield made
    await made.aclose()


def reads(fetcher: ReplicaFetcher, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Blobs that are read whole from now on."""
    seen: list[str] = []
    inner = fetcher.blobs.get_bytes

    async def get_bytes(digest: str, limit: int) -> bytes:
        seen.append(digest)
        return await inner(digest, limit)

    monkeypatch.setattr(fetcher.blobs, "get_bytes", get_bytes)
    return seen


async def test_late_bytecode_begins_no_environment_that_was_removed(
    origin: Origin, fetcher: ReplicaFetcher
) -> None:
    await origin.offer(complete=False)
    assert await fetcher.fetch(DIGEST)
    fetcher._eviction._limit = 1
    assert fetcher._eviction.run() == [DIGEST]
    await origin.offer(complete=True)
    await fetcher.complete(DIGEST)
    assert not (fetcher.store / NAME).exists()
    # It is fetched anew, as a whole.
    async with origin.shelf(fetcher).held(DIGEST) as place:
        assert (place / CACHE).read_text() == "pyc"
        assert (place / "environment.json").is_file()


async def test_an_environment_that_was_left_half_is_not_used_and_is_replaced(
    origin: Origin, fetcher: ReplicaFetcher
) -> None:
    half = fetcher.store / NAME
    (half / CACHE).parent.mkdir(parents=True)
    (half / CACHE).write_text("pyc")
    (half / "bytecode.json").write_text("{}")
    with pytest.raises(EnvironmentGone, match="is not on this host"):
        async with Shelf(fetcher.store).held(DIGEST):
            pass
    await origin.offer(complete=True)
    async with origin.shelf(fetcher).held(DIGEST) as place:
        assert (place / "lib/pkg/m.py").read_text() == "x = 1\n"
        assert (place / "bin/python").is_symlink()
    assert list((fetcher.store / ".builder/drafts").glob("fetch_*")) == []


async def test_a_replica_is_read_once_however_often_it_is_looked_at(
    origin: Origin, fetcher: ReplicaFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_LOOK_SECONDS", 0.01)
    bare = await origin.offer(complete=False)
    seen = reads(fetcher, monkeypatch)
    looked = asyncio.Semaphore(0)
    inner = fetcher.complete

    async def complete(*given: str) -> str:
        found = await inner(*given)
        looked.release()
        return found

    monkeypatch.setattr(fetcher, "complete", complete)
    assert await fetcher.fetch(DIGEST)
    for _ in range(5):
        await looked.acquire()
    # By the fetch, and by the first look.
    assert seen == [bare, bare]
    whole = await origin.offer(complete=True)
    await asyncio.gather(*fetcher._following.values())
    assert seen == [bare, bare, whole]
    assert (fetcher.store / NAME / CACHE).read_text() == "pyc"


async def test_a_host_that_starts_anew_goes_on_waiting_for_bytecode(
    origin: Origin, fetcher: ReplicaFetcher, s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_LOOK_SECONDS", 0.01)
    await origin.offer(complete=False)
    assert await fetcher.fetch(DIGEST)
    await fetcher.aclose()
    await origin.offer(complete=True)
    again = ReplicaFetcher(fetcher.store, origin.database, BlobStore(s3_settings, AREA), 1 << 40)
    await again.resume()
    await asyncio.gather(*again._following.values())
    assert (fetcher.store / NAME / CACHE).read_text() == "pyc"
    await again.resume()
    assert again._following == {}
    await again.aclose()


async def test_a_replica_that_is_replaced_while_it_is_read_is_read_anew(
    origin: Origin, fetcher: ReplicaFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = await origin.offer(complete=False)
    inner = fetcher.blobs.get_bytes

    async def get_bytes(digest: str, limit: int) -> bytes:
        if digest == bare:
            await origin.offer(complete=True)
            await origin.blobs.delete(bare)
        return await inner(digest, limit)

    monkeypatch.setattr(fetcher.blobs, "get_bytes", get_bytes)
    assert await fetcher.fetch(DIGEST)
    assert (fetcher.store / NAME / CACHE).read_text() == "pyc"


async def test_drafts_are_made_and_removed_beside_the_loop_and_to_the_end(
    origin: Origin, fetcher: ReplicaFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await origin.offer(complete=True)
    where: list[threading.Thread] = []
    leaving, let_go = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def slowly(store: Path, kind: str) -> Iterator[tuple[Path, int]]:
        where.append(threading.current_thread())
        with own_drafts(store, kind) as given:
            yield given
            where.append(threading.current_thread())
            leaving.set()
            assert where[-1] is threading.main_thread() or let_go.wait(30)

    monkeypatch.setattr(fetching, "own_drafts", slowly)
    work = asyncio.create_task(fetcher.fetch(DIGEST))
    assert await asyncio.to_thread(leaving.wait, 30)
    work.cancel()
    let_go.set()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    assert len(where) == 2
    assert threading.main_thread() not in where
    assert list((fetcher.store / ".builder/drafts").glob("fetch_*")) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC])
async def test_what_the_system_refuses_is_said_and_the_disk_blamed_only_where_it_is_full(
    origin: Origin, fetcher: ReplicaFetcher, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    await origin.offer(complete=True)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fetching, "unpack", refuse)
    with pytest.raises(Unavailable) as caught:
        await fetcher.fetch(DIGEST)
    assert os.strerror(number) in caught.value.message
    assert ("disk is too small" in caught.value.message) is (number == errno.ENOSPC)


async def test_what_a_builder_left_behind_does_not_keep_a_host_above_its_limit(
    origin: Origin, fetcher: ReplicaFetcher
) -> None:
    fetcher._eviction._limit = 1
    (fetcher.store / ".builder/store").write_text("mark of a builder")
    spare = fetcher.store / ".builder/layers" / ("c" * 64)
    spare.mkdir()
    await origin.offer(complete=True)
    with own_drafts(fetcher.store, "builder"):
        assert await fetcher.fetch(DIGEST)
        assert spare.is_dir(), "a builder that lives removes what it wants"
    (fetcher.store / NAME / "environment.json").unlink()
    assert await fetcher.fetch(DIGEST)
    assert not spare.exists()
