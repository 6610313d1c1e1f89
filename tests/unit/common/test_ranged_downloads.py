"""Large blobs in parts, from a source that fails as networks do."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vitrine_common.blobs import BlobError, BlobNotFound, BlobStoreUnavailable, ranged
from vitrine_common.blobs.ranged import ATTEMPTS, RangedDownload
from vitrine_common.digests import sha256_bytes

DATA = random.Random(5).randbytes(100_000)
PART = 9_000


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "blob", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def whole(start: int, end: int) -> Generator[bytes, None, None]:
    for offset in range(start, end, 1000):
        yield DATA[offset : min(offset + 1000, end)]


def test_the_file_is_whole_and_hashed_once_in_order(threads: ThreadPoolExecutor, descriptor: int) -> None:
    assert RangedDownload(whole, len(DATA), PART).run(descriptor, threads) == sha256_bytes(DATA)
    assert os.pread(descriptor, len(DATA) + 1, 0) == DATA


def test_parts_come_several_at_a_time(threads: ThreadPoolExecutor, descriptor: int) -> None:
    together = threading.Barrier(ranged.PARTS_AT_ONCE)
    first = {PART * number for number in range(ranged.PARTS_AT_ONCE)}

    def meet(start: int, end: int) -> Generator[bytes, None, None]:
        if start in first:
            together.wait(timeout=20)
        yield from whole(start, end)

    assert RangedDownload(meet, len(DATA), PART).run(descriptor, threads) == sha256_bytes(DATA)


def test_a_part_that_breaks_off_goes_on_where_it_did(threads: ThreadPoolExecutor, descriptor: int) -> None:
    asked: list[tuple[int, int]] = []

    def break_off(start: int, end: int) -> Generator[bytes, None, None]:
        asked.append((start, end))
        chunks = whole(start, end)
        yield next(chunks)
        if len(asked) % 3:
            yield next(chunks, b"")
            raise BlobStoreUnavailable("cut")
        # A server may also end early without a word.

    assert RangedDownload(break_off, len(DATA), PART).run(descriptor, threads) == sha256_bytes(DATA)
    assert len({start for start, _ in asked}) == len(asked), "no byte was asked for twice"
    assert len(asked) > len(DATA) / PART


def test_a_network_that_stays_away_is_an_error(threads: ThreadPoolExecutor, descriptor: int) -> None:
    tried: list[int] = []

    def fail(start: int, end: int) -> Generator[bytes, None, None]:
        tried.append(start)
        raise BlobStoreUnavailable("away")
        yield b""

    with pytest.raises(BlobStoreUnavailable, match="away"):
        RangedDownload(fail, 1000, PART).run(descriptor, threads)
    assert len(tried) == ATTEMPTS


@pytest.mark.parametrize("error", [BlobNotFound("gone"), OSError(errno.ENOSPC, "full")])
def test_what_cannot_get_better_is_not_tried_again(
    threads: ThreadPoolExecutor, descriptor: int, error: Exception
) -> None:
    tried: list[int] = []

    def fail(start: int, end: int) -> Generator[bytes, None, None]:
        tried.append(start)
        yield from whole(start, start + 1000)
        raise error

    with pytest.raises(type(error)):
        RangedDownload(fail, len(DATA), PART).run(descriptor, threads)
    assert len(tried) <= ranged.PARTS_AT_ONCE


def test_more_bytes_than_asked_for_are_refused(threads: ThreadPoolExecutor, descriptor: int) -> None:
    def ignore_the_range(start: int, end: int) -> Generator[bytes, None, None]:
        yield DATA

    with pytest.raises(BlobError, match="more bytes"):
        RangedDownload(ignore_the_range, len(DATA), PART).run(descriptor, threads)


def test_a_stopped_download_ends_while_its_source_goes_on(
    threads: ThreadPoolExecutor, descriptor: int
) -> None:
    begun = threading.Event()

    def endless(start: int, end: int) -> Generator[bytes, None, None]:
        while True:
            begun.set()
            yield b""

    download = RangedDownload(endless, len(DATA), PART)
    running = threads.submit(download.run, descriptor, threads)
    assert begun.wait(20)
    download.stop()
    with pytest.raises(BlobStoreUnavailable, match="stopped"):
        running.result(timeout=20)


def test_a_disk_with_too_little_room_says_so_before_anything_is_fetched(
    threads: ThreadPoolExecutor, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    def never(start: int, end: int) -> Generator[bytes, None, None]:
        raise AssertionError("it was asked for")
        yield b""

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no space"):
        RangedDownload(never, len(DATA), PART).run(descriptor, threads)
