"""A push: read, send what is missing, post the manifest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from vitrine.journal import Journal
from vitrine.sources import Bundle, opened, read_bundle, read_dataset
from vitrine.transport import Transport
from vitrine.uploads import Blob, Uploader, UploadWatch


class PushWatch(UploadWatch, Protocol):
    """Is told how a push goes on."""

    def hashed(self, path: str, size: int) -> None:
        """Hear that a file has been read."""

    def warned(self, message: str) -> None:
        """Something that the author should know."""


class Silent:
    """A watch that says nothing."""

    def planned(self, files: int, total_bytes: int, blobs: int, missing_bytes: int) -> None:
        """Say nothing."""

    def sent(self, count: int) -> None:
        """Say nothing."""

    def hashed(self, path: str, size: int) -> None:
        """Say nothing."""

    def warned(self, message: str) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Plan:
    """What a bundle consists of by digest: equal files are sent once."""

    blobs: dict[str, Blob]

    @classmethod
    def of(cls, bundle: Bundle) -> Plan:
        """Return the plan of a bundle."""
        entries = bundle.manifest.files
        return cls({one.digest: Blob(one.digest, one.size, bundle.sources[one.path]) for one in entries})


class Pusher:
    """Brings bundles to the platform. `store` makes the client for presigned addresses."""

    def __init__(
        self,
        transport: Transport,
        store: Callable[[], AbstractContextManager[httpx.Client]],
        journal: Path | None,
        watch: PushWatch | None = None,
    ) -> None:
        self._transport = transport
        self._store = store
        self._journal = Journal(journal, transport.url)
        self._watch: PushWatch = watch or Silent()

    def send(self, path: Path, *, for_training: bool = False) -> Bundle:
        """Read what lies at `path` and upload what the platform lacks.

        Raises BadBundle before anything is sent, and UploadFailed, Refused or Unreachable after.
        """
        with opened(path) as directory:
            bundle = read_bundle(directory, self._watch.hashed, for_training=for_training)
            self._upload(bundle)
        return bundle

    def send_dataset(self, path: Path) -> Bundle:
        """Read a directory or a file as a dataset and upload what the platform lacks; raises like `send`."""
        dataset = read_dataset(path, self._watch.hashed)
        self._upload(dataset)
        return dataset

    def _upload(self, bundle: Bundle) -> None:
        for message in bundle.warnings:
            self._watch.warned(message)
        with self._store() as store:
            uploader = Uploader(self._transport, store, self._journal, self._watch)
            plan = Plan.of(bundle)
            missing = uploader.missing(list(plan.blobs.values()))
            size = sum(upload.size for upload in missing)
            manifest = bundle.manifest
            self._watch.planned(len(manifest.files), manifest.total_bytes, len(missing), size)
            uploader.upload(plan.blobs, missing)


def manifest_body(bundle: Bundle, model: str | None, *, refresh: bool = False) -> dict[str, Any]:
    """Return what the platform is told about a bundle; `model` overrides the name in the file."""
    body: dict[str, Any] = {"manifest": bundle.manifest.model_dump(mode="json")}
    return body | ({"model": model} if model else {}) | ({"refresh": True} if refresh else {})
