"""Bytes on their way in: what is missing, where to send it, and when it counts as present."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from vitrine_api.grants import Grants
from vitrine_api.policy import Action, Member, require
from vitrine_api.quotas import Quotas
from vitrine_api.repository import Bundles
from vitrine_api.settings import ApiSettings
from vitrine_common.blobs import BlobNotFound, BlobStore, DigestMismatch, SizeMismatch
from vitrine_common.bundle import DEFAULT_BUNDLE_LIMITS
from vitrine_common.clock import after, utcnow
from vitrine_common.documents import Upload
from vitrine_common.errors import Gone, TooLarge
from vitrine_common.ids import new_id


@dataclass(frozen=True, slots=True)
class Part:
    """Where bytes `offset` to `offset + size` of a blob are sent by PUT; numbers count from 1."""

    number: int
    url: str
    offset: int
    size: int


class Uploads:
    """Takes blobs in. A digest is present for those alone who brought it (or made it here)."""

    def __init__(
        self, bundles: Bundles, blobs: BlobStore, settings: ApiSettings, grants: Grants, quotas: Quotas
    ) -> None:
        self._grants = grants
        self._quotas = quotas
        self._bundles = bundles
        self._blobs = blobs
        self._settings = settings

    async def begin_missing(
        self, member: Member, wanted: Sequence[tuple[str, int]]
    ) -> list[tuple[Upload, list[Part]]]:
        """Return an upload, with presigned URLs, for each (digest, size) that is not present for `member`."""
        require(member, Action.CHANGE, None)
        sizes = dict(wanted)
        for digest, size in sizes.items():
            if size > DEFAULT_BUNDLE_LIMITS.file_bytes:
                raise TooLarge(
                    f"{digest} has {size} bytes; at most {DEFAULT_BUNDLE_LIMITS.file_bytes} are taken"
                )
        if sum(sizes.values()) > DEFAULT_BUNDLE_LIMITS.total_bytes:
            # Each part has a signature to be made, so that what is asked for at once must be bounded.
            raise TooLarge(
                f"these are {sum(sizes.values())} bytes; ask for at most "
                f"{DEFAULT_BUNDLE_LIMITS.total_bytes} at a time"
            )
        present = await self._bundles.grants(member.id, sizes)
        missing = [(digest, size) for digest, size in sizes.items() if present.get(digest) != size]
        await self._quotas.check_storage(member.id, sum(dict(missing).values()))
        return list(await asyncio.gather(*(self._begin(member, *item) for item in missing)))

    async def _begin(self, member: Member, digest: str, size: int) -> tuple[Upload, list[Part]]:
        part_bytes = self._settings.part_bytes
        upload = Upload(
            id=new_id("upload"),
            user_id=member.id,
            digest=digest,
            size=size,
            parts=max(1, -(-size // part_bytes)),
            expires_at=after(self._settings.upload_seconds),
        )
        await self._bundles.uploads.insert(upload)
        expires = timedelta(seconds=self._settings.upload_seconds)
        parts = [
            Part(
                number,
                self._blobs.presign_upload(upload.id, number, expires),
                offset := (number - 1) * part_bytes,
                min(part_bytes, size - offset),
            )
            for number in range(1, upload.parts + 1)
        ]
        return upload, parts

    async def complete(self, member: Member, upload_id: str) -> Upload:
        """Check what was sent and keep it. Raises NotFound, Gone, BlobNotFound, SizeMismatch, DigestMismatch.

        After a mismatch the upload is over: begin it again.
        """
        upload = await self._bundles.uploads.get(upload_id)
        require(member, Action.CHANGE, upload)
        if upload.expires_at <= utcnow():
            raise Gone("this upload took too long; begin it again")
        try:
            await self._blobs.adopt_upload(upload.id, upload.parts, upload.digest, upload.size)
        except BlobNotFound:
            if (await self._bundles.grants(member.id, [upload.digest])).get(upload.digest) != upload.size:
                raise
        except (SizeMismatch, DigestMismatch):
            await self.drop(upload)
            raise
        # The upload stays until it expires: completing it twice, after a lost answer, is no error.
        await self._grants.grant(member.id, upload.digest, upload.size)
        return upload

    async def store(self, user_id: str | None, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Keep bytes that came through the api; return digest and size. Visitors get no grant."""
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                size += len(chunk)
                yield chunk

        digest = await self._blobs.put_stream(counted())
        if user_id is not None:
            await self._grants.grant(user_id, digest, size)
        return digest, size

    async def drop(self, upload: Upload) -> None:
        """Forget an upload and what was staged for it."""
        await self._blobs.discard_upload(upload.id)
        await self._bundles.uploads.delete({"_id": upload.id})

    async def sweep(self) -> None:
        """Drop uploads that were not completed in time, and parts that were sent for no upload any more."""
        for upload in await self._bundles.expired_uploads():
            await self.drop(upload)
        # Their addresses outlive an upload that was refused; no address outlives this.
        for upload_id in await self._blobs.list_staging(after(-self._settings.upload_seconds)):
            await self._blobs.discard_upload(upload_id)
