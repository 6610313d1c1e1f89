"""A folder that holds images as others fetch them: an OCI image layout.

Source: OCI image specification 1.1, `image-layout.md`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_builder.images.registry import INDEX, MANIFEST, descriptor
from vitrine_builder.workspace import Workspace
from vitrine_common.digests import sha256_file
from vitrine_common.ids import new_id

TAG = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Layout:
    """The layout below a workspace; several builders may share it. A blob is there wholly or not at all."""

    workspace: Workspace

    @property
    def root(self) -> Path:
        """Where `oci-layout`, `index.json` and `blobs` are."""
        return self.workspace.images / "layout"

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    def close(self) -> None:
        """Do nothing: no connection is held."""

    def size_of(self, digest: str) -> int | None:
        """Return the size of a blob, or None where it is not there."""
        try:
            return self._blob(digest).stat().st_size
        except FileNotFoundError:
            return None

    def adopt(self, _digest: str) -> bool:
        """Return False: there is no other repository here."""
        return False

    def put(self, chunks: Iterator[bytes]) -> tuple[str, int]:
        """Store a blob while it is made; return its digest and size."""
        draft = self.workspace.drafts / new_id("blob")
        digest, size = hashlib.sha256(), 0
        try:
            with draft.open("xb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
            name = f"sha256:{digest.hexdigest()}"
            self._blob(name).parent.mkdir(parents=True, exist_ok=True)
            draft.replace(self._blob(name))
        finally:
            draft.unlink(missing_ok=True)
        return name, size

    def put_manifest(self, reference: str, content: bytes, media_type: str = MANIFEST) -> bool:
        """Store a manifest and list it, by its tag where it has one; what refers to others is found there."""
        self.put(iter((content,)))
        entry = descriptor(media_type, content)
        if reference != entry["digest"]:
            entry["annotations"] = {TAG: reference}
        with self._alone():
            listed = [
                known
                for known in self._index()["manifests"]
                if known["digest"] != entry["digest"]
                and (known.get("annotations") or {}).get(TAG) != reference
            ]
            self._write([*listed, entry])
        return True

    def manifest(self, reference: str) -> bytes | None:
        """Return a manifest by its tag or digest, or None where it is not there."""
        digest = reference if ":" in reference else self.manifest_digest(reference)
        try:
            return None if digest is None else self._blob(digest).read_bytes()
        except FileNotFoundError:
            return None

    def manifest_digest(self, reference: str) -> str | None:
        """Return the digest of a manifest by its tag, or None where it is not there."""
        if ":" in reference:
            return reference if self.size_of(reference) is not None else None
        for entry in self._index()["manifests"]:
            if _tag(entry) == reference:
                return str(entry["digest"])
        return None

    def blob_digest(self, digest: str) -> tuple[str, int]:
        """Read a blob; return the digest of its bytes, and how many they are."""
        return sha256_file(self._blob(digest)), self._blob(digest).stat().st_size

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _index(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.root / "index.json").read_bytes()))
        except FileNotFoundError:
            return {"manifests": []}

    def _write(self, manifests: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        for name, value in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            draft = self.workspace.drafts / new_id("layout")
            draft.write_text(json.dumps(value, indent=1))
            draft.replace(self.root / name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _tag(entry: dict[str, Any]) -> str | None:
    return (entry.get("annotations") or {}).get(TAG)
