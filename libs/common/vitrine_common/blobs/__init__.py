"""Content-addressed bytes in S3: what a digest names is stored once, verified, and never changes."""

from vitrine_common.blobs.errors import (
    BlobDenied,
    BlobError,
    BlobNotFound,
    BlobRangeInvalid,
    BlobStoreUnavailable,
    BlobTooLarge,
    DigestMismatch,
    SizeMismatch,
)
from vitrine_common.blobs.keys import content_key, staging_key
from vitrine_common.blobs.store import BlobStore
from vitrine_common.blobs.streams import BlobStream

__all__ = [
    "BlobDenied",
    "BlobError",
    "BlobNotFound",
    "BlobRangeInvalid",
    "BlobStore",
    "BlobStoreUnavailable",
    "BlobStream",
    "BlobTooLarge",
    "DigestMismatch",
    "SizeMismatch",
    "content_key",
    "staging_key",
]
