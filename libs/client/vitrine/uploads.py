"""Bringing blobs to the store: straight to presigned addresses, part by part, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from vitrine.errors import NotFound, Refused, UploadFailed
from vitrine.journal import Journal, Part, Upload
from vitrine.transport import Patience, Transport

BATCH = 1000
THREADS = 4
CHUNK = 256 * 1024
_GONE = frozenset({403, 404, 410})
"""A presigned address that has expired, or an upload that the store has swept."""
_ROUNDS = 3


class UploadWatch(Protocol):
    """Is told how an upload goes on; called from several threads."""

    def planned(self, files: int, total_bytes: int, blobs: int, missing_bytes: int) -> None:
        """So much there is, and so much is missing on the platform."""

    def sent(self, count: int) -> None:
        """`count` more bytes have gone out; negative when they go again."""


@dataclass(frozen=True)
class Blob:
    """Bytes that the platform needs, and the file that has them."""

    digest: str
    size: int
    source: Path


class _Expired(Exception):
    """The addresses of an upload are not good any more."""


class Uploader:
    """Uploads what the platform lacks. `store` is a client without credentials for presigned addresses."""

    def __init__(
        self,
        transport: Transport,
        store: httpx.Client,
        journal: Journal,
        watch: UploadWatch,
        threads: int = THREADS,
    ) -> None:
        self._transport = transport
        self._store = store
        self._journal = journal
        self._watch = watch
        self._threads = threads
        self._patience: Patience = transport.patience
        self._stop = threading.Event()

    def missing(self, blobs: Sequence[Blob]) -> list[Upload]:
        """Ask which of `blobs` are missing; an upload that was interrupted goes on."""
        found: list[Upload] = []
        for start in range(0, len(blobs), BATCH):
            batch = [{"digest": blob.digest, "size": blob.size} for blob in blobs[start : start + BATCH]]
            answer = self._transport.call("POST", "/blobs/missing", json={"blobs": batch})
            found += [self._journal.resumed(Upload.from_document(item)) for item in answer["missing"]]
        return found

    def upload(self, blobs: Mapping[str, Blob], uploads: Sequence[Upload]) -> None:
        """Send what is missing. Raises UploadFailed, Refused and Unreachable; what was sent stays sent."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="upload") as pool:
            rest = list(uploads)
            for _ in range(_ROUNDS):
                again = self._round(pool, blobs, rest)
                if not again:
                    return
                rest = self.missing(again)
        raise UploadFailed(
            "The store does not take the files.", advice="Push again; `vitrine status` may say why."
        )

    def _round(
        self, pool: ThreadPoolExecutor, blobs: Mapping[str, Blob], uploads: Sequence[Upload]
    ) -> list[Blob]:
        """Send every upload; return the blobs that have to begin again."""
        pending = [_Pending(blobs[upload.digest], upload) for upload in uploads]
        futures: list[Future[None]] = []
        for item in pending:
            self._watch.sent(sum(part.size for part in item.upload.parts if part.number in item.sent))
            if not item.upload.remaining:
                futures.append(pool.submit(self._finish, item))
            futures += [pool.submit(self._part, item, part) for part in item.upload.remaining]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException:
            self._stop.set()
            for future in futures:
                future.cancel()
            raise
        return [item.blob for item in pending if item.expired]

    def _part(self, item: _Pending, part: Part) -> None:
        try:
            self._send(item.blob, part)
        except _Expired:
            item.expired = True
        if item.arrived(part, self._journal):
            self._finish(item)

    def _finish(self, item: _Pending) -> None:
        if item.expired:
            self._journal.forget(item.upload)
            self._watch.sent(-sum(part.size for part in item.upload.parts))
            return
        try:
            self._transport.call("POST", "/blobs/complete", json={"upload_id": item.upload.upload_id})
        except Refused as error:
            self._journal.forget(item.upload)
            # What an earlier push sent may be gone by now: then nothing is wrong with the file.
            if (
                isinstance(error, NotFound)
                or error.status == 410
                or (error.status == 422 and item.upload.sent)
            ):
                item.expired = True
                self._watch.sent(-sum(part.size for part in item.upload.parts))
                return
            if error.status != 422:
                raise
            message = f"{item.blob.source} is not what it was when it was read: {error.message}"
            raise UploadFailed(message, advice="Push again when nothing writes to it.") from error
        self._journal.forget(item.upload)

    def _send(self, blob: Blob, part: Part) -> None:
        pauses = self._patience.pauses()
        while True:
            counted = _Counted(blob.source, part, self._watch, self._stop)
            try:
                fault = self._put(part, counted)
            except OSError as error:
                raise UploadFailed(f"{blob.source} cannot be read: {error.strerror}") from error
            if fault is None:
                return
            self._watch.sent(-counted.sent)
            pause = next(pauses, None)
            if pause is None:
                advice = "Push again: only what is missing is sent."
                raise UploadFailed(f"{blob.source.name} could not be uploaded: {fault}", advice=advice)
            self._patience.pause(pause)

    def _put(self, part: Part, content: _Counted) -> str | None:
        """Send one part; return what went wrong when it is worth another try."""
        headers = {"Content-Length": str(part.size)}
        try:
            answer = self._store.put(part.url, content=iter(content), headers=headers)
        except httpx.TransportError as error:
            return f"the connection broke ({error})" if str(error) else "the connection broke"
        if answer.is_success:
            return None
        if answer.status_code in _GONE:
            self._watch.sent(-content.sent)
            self._watch.sent(part.size)
            raise _Expired
        return f"the store said {answer.status_code}"


class _Pending:
    """An upload whose parts are sent by several threads."""

    def __init__(self, blob: Blob, upload: Upload) -> None:
        self.blob = blob
        self.upload = upload
        self.sent = set(upload.sent)
        self.expired = False
        self._left = len(upload.remaining)
        self._lock = threading.Lock()

    def arrived(self, part: Part, journal: Journal) -> bool:
        """Count a part that is through; tell whether it was the last one."""
        with self._lock:
            self._left -= 1
            if not self.expired:
                self.sent.add(part.number)
                journal.note(self.upload, frozenset(self.sent))
            return self._left == 0


class _Counted:
    """The bytes of a part, read piece by piece and counted as they go out."""

    def __init__(self, source: Path, part: Part, watch: UploadWatch, stop: threading.Event) -> None:
        self._source, self._part, self._watch, self._stop = source, part, watch, stop
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        with self._source.open("rb") as file:
            file.seek(self._part.offset)
            while self.sent < self._part.size:
                if self._stop.is_set():
                    raise UploadFailed("The upload was stopped.")
                chunk = file.read(min(CHUNK, self._part.size - self.sent))
                if not chunk:
                    advice = "Push again when nothing writes to it."
                    raise UploadFailed(f"{self._source} became shorter while it was sent.", advice=advice)
                yield chunk
                self.sent += len(chunk)
                self._watch.sent(len(chunk))
