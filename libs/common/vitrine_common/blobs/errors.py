"""What can go wrong with blobs, and the one table from the driver's errors to these.

Servers differ in how they report the same failure: MinIO's XML becomes `S3Error`, an answer whose content
type is `text/xml` becomes `InvalidResponseError`, an empty body `ServerError`. All carry the HTTP status.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from vitrine_common.errors import Invalid, NotFound, TooLarge, Unavailable, VitrineError


class BlobError(VitrineError):
    """Base of what the blob store raises; by itself: an answer of the S3 server that makes no sense."""


class BlobNotFound(BlobError, NotFound):
    """No such blob, staged part or bucket."""


class BlobDenied(BlobError):
    """The S3 server refuses our credentials: a fault of the installation, not of a caller."""


class BlobRangeInvalid(BlobError, Invalid):
    """A range begins behind the blob's end."""

    status = 416
    title = "The requested range does not exist"


class BlobTooLarge(BlobError, TooLarge):
    """A blob is larger than its reader is ready for."""


class BlobStoreUnavailable(BlobError, Unavailable):
    """The S3 server does not answer, or not now; the same call may succeed later."""


class DigestMismatch(BlobError, Invalid):
    """The bytes are not those that the digest names: a wrong upload, or damage in the store.

    Attributes:
        expected: the digest that was claimed.
        actual: the digest of the bytes.
    """

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"the bytes have the digest {actual}, not {expected}; send the file again")
        self.expected = expected
        self.actual = actual


class SizeMismatch(BlobError, Invalid):
    """There are more or fewer bytes than announced.

    Attributes:
        expected: announced bytes.
        actual: bytes found; where there are too many, counting stopped soon after the limit.
    """

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"{expected} bytes were announced, but there are {actual}; send the file again")
        self.expected = expected
        self.actual = actual


_BY_STATUS: dict[int, tuple[type[BlobError], str]] = {
    401: (BlobDenied, "the S3 server refuses the credentials; check VITRINE_S3_ACCESS_KEY and _SECRET_KEY"),
    403: (BlobDenied, "the S3 server refuses the credentials; check VITRINE_S3_ACCESS_KEY and _SECRET_KEY"),
    404: (BlobNotFound, "there is no {what}"),
    416: (BlobRangeInvalid, "{what} ends before the range begins"),
    429: (BlobStoreUnavailable, "the S3 server is overloaded; try again in a moment"),
}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the driver's errors of the block as blob errors; `what` is named where it is missing."""
    try:
        yield
    except MinioException as error:
        raise _from_status(_status(error), what) from error
    except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise BlobStoreUnavailable("the S3 server does not answer; try again in a moment") from error


def _status(error: MinioException) -> int:
    if isinstance(error, S3Error):
        return int(error.response.status)
    if isinstance(error, ServerError):
        return int(error.status_code)
    if isinstance(error, InvalidResponseError):
        return int(error._code)  # noqa: SLF001 - the driver publishes it nowhere else
    return 0


def _from_status(status: int, what: str) -> BlobError:
    if status >= 500:
        return BlobStoreUnavailable(f"the S3 server failed with status {status}; try again in a moment")
    if status in _BY_STATUS:
        kind, message = _BY_STATUS[status]
        return kind(message.format(what=what))
    return BlobError(f"the S3 server answered {status or 'nothing usable'} about {what}")
