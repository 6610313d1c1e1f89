"""Whether a registry, or a layout, holds exactly the image that was made."""

from __future__ import annotations

import json
from typing import Any, Protocol

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_common.digests import sha256_bytes


class Holder(Protocol):
    """What images are looked for in."""

    def size_of(self, digest: str) -> int | None:
        """Return the size of a blob, or None where it is not there."""

    def manifest(self, reference: str) -> bytes | None:
        """Return a manifest by its tag or digest, or None where it is not there."""

    def blob_digest(self, digest: str) -> tuple[str, int]:
        """Read a blob; return the digest of its bytes, and how many they are."""


def verify_image(holder: Holder, tag: str, manifest: bytes, *, reading: bool = False) -> None:
    """Check that `tag` is `manifest`, and that every blob of it is there in its size.

    With `reading`, blobs are read and hashed, too: for whoever trusts nobody, since registries hash what they
    are sent.

    Raises:
        BuildFailure: something else is there, or something is missing.
    """
    found = holder.manifest(tag)
    if found is None or sha256_bytes(found) != sha256_bytes(manifest):
        _fail("has another image under its name" if found else "has not kept it")
    document = json.loads(manifest)
    for blob in (document["config"], *document["layers"]):
        _check(holder, blob, reading=reading)


def _check(holder: Holder, blob: dict[str, Any], *, reading: bool) -> None:
    digest, size = blob["digest"], blob["size"]
    if holder.size_of(digest) != size:
        _fail(f"lacks a part of it ({digest})")
    if reading and holder.blob_digest(digest) != (digest, size):
        _fail(f"has another content for a part of it ({digest})")


def _fail(why: str) -> None:
    sentence = f"The image was sent, but its registry {why}; try again, or tell the operator of the platform."
    raise BuildFailure(FailureReason.INTERNAL, sentence)
