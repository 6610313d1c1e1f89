"""An image on its way to a registry or a layout: only what is missing there, compressed on the way.

The image's digest is over uncompressed layers, so compression is nobody's concern but the transport's. It is
deterministic all the same (one level, one thread), so that two builders send equal blobs.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import zstandard

from vitrine_builder.images.config import LABEL, Image, ImageLayer, tag_of
from vitrine_builder.images.registry import INDEX, MANIFEST, descriptor
from vitrine_builder.images.verify import Holder, verify_image
from vitrine_builder.progress import Report, Step
from vitrine_builder.workspace import Workspace
from vitrine_common.digests import digest_of_json, sha256_bytes

Compression = Literal["zstd", "gzip"]
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+"
EMPTY = "application/vnd.oci.empty.v1+json"
ZSTD_LEVEL = 3
GZIP_LEVEL = 6
_SENDERS = 3
_NEWS_BYTES = 8 << 20


class Destination(Holder, Protocol):
    """Where images are sent."""

    @property
    def name(self) -> str:
        """What others fetch images from."""

    def close(self) -> None:
        """Let connections go."""

    def adopt(self, digest: str) -> bool:
        """Take a blob from a neighbour; tell whether one had it."""

    def put(self, chunks: Iterator[bytes]) -> tuple[str, int]:
        """Store a blob while it is made; return its digest and size."""

    def put_manifest(self, reference: str, content: bytes, media_type: str = ...) -> bool:
        """Store a manifest; tell whether what refers to others is listed."""

    def manifest_digest(self, reference: str) -> str | None:
        """Return the digest of a manifest, or None where it is not there."""


@dataclass(frozen=True)
class Attachment:
    """A document that refers to an image, such as its SBOM."""

    kind: str
    media_type: str
    content: bytes


@dataclass
class Pushed:
    """What a push came to: the manifest's digest, and the blobs that were sent, of how many bytes."""

    manifest: str
    sent: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    attached: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pusher:
    """Sends images to one destination."""

    workspace: Workspace
    destination: Destination
    compression: Compression = "zstd"

    def has(self, environment: str, image: str) -> bool:
        """Tell whether the image of `environment` is there, and has the configuration `image`."""
        found = self.destination.manifest(tag_of(environment))
        return found is not None and json.loads(found).get("config", {}).get("digest") == image

    def push(self, image: Image, attachments: Sequence[Attachment], report: Report) -> Pushed:
        """Send what is missing of `image` and what goes with it, and verify that it is there.

        Raises:
            BuildFailure: the registry is away, refuses it, or holds something else afterwards.
        """
        sending = _Sending(self, image, report)
        layers = sending.layers()
        config = descriptor(CONFIG, image.config)
        sending.document(image.config)
        annotations = {f"{LABEL}environment": image.environment, f"{LABEL}compression": self._format}
        annotations |= {f"{LABEL}{each.kind}": sha256_bytes(each.content) for each in attachments}
        manifest = image_manifest(config, layers, annotations=annotations)
        self.destination.put_manifest(image.tag, manifest)
        verify_image(self.destination, image.tag, manifest)
        pushed = sending.pushed
        pushed.manifest = sha256_bytes(manifest)
        pushed.attached = [self._attach(sending, manifest, each) for each in attachments]
        report(Step("push", "the image", sending.total, sending.total, "bytes"))
        return pushed

    @property
    def _format(self) -> str:
        if self.compression == "gzip":
            return f"gzip {GZIP_LEVEL} zlib {zlib.ZLIB_RUNTIME_VERSION}"
        return f"zstd {ZSTD_LEVEL} {'.'.join(map(str, zstandard.ZSTD_VERSION))}"

    def _attach(self, sending: _Sending, subject: bytes, attachment: Attachment) -> str:
        """Store a document that refers to a manifest, so that whoever has the one finds the other."""
        empty = b"{}"
        sending.document(empty)
        sending.document(attachment.content)
        content = image_manifest(
            descriptor(EMPTY, empty),
            [descriptor(attachment.media_type, attachment.content)],
            artifactType=attachment.media_type,
            subject=descriptor(MANIFEST, subject),
        )
        digest = sha256_bytes(content)
        if not self.destination.put_manifest(digest, content):
            self._list(subject, {**descriptor(MANIFEST, content), "artifactType": attachment.media_type})
        return digest

    def _list(self, subject: bytes, entry: dict[str, Any]) -> None:
        """List what refers to a manifest by a tag, for registries that do not ("Referrers Tag Schema")."""
        tag = sha256_bytes(subject).replace(":", "-")
        known = self.destination.manifest(tag)
        listed = json.loads(known)["manifests"] if known else []
        # One document of each kind: a later one takes the place of the one before.
        listed = [each for each in listed if each.get("artifactType") != entry["artifactType"]]
        listed = sorted([*listed, entry], key=lambda each: str(each.get("artifactType")))
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        self.destination.put_manifest(tag, _canonical(index), INDEX)

    def remembered(self, layer: ImageLayer) -> dict[str, Any] | None:
        """Return what names the compressed layer, where it was compressed before in the same way."""
        try:
            return dict(json.loads(self._place(layer).read_bytes()))
        except (FileNotFoundError, ValueError):
            return None

    def remember(self, layer: ImageLayer, found: dict[str, Any]) -> None:
        """Keep what names the compressed layer."""
        place = self._place(layer)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = self.workspace.drafts / f"{place.name}.{threading.get_ident()}"
        draft.write_text(json.dumps(found))
        draft.replace(place)

    def _place(self, layer: ImageLayer) -> Path:
        name = digest_of_json([layer.diff_id, self._format]).removeprefix("sha256:")
        return self.workspace.images / "compressed" / name

    def compressed(self, chunks: Iterator[bytes], heard: Callable[[int], None]) -> Iterator[bytes]:
        """Yield a layer as it is sent; `heard` counts the bytes that went in."""
        packer: Any = (
            zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
            if self.compression == "gzip"
            else zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
        )
        for chunk in chunks:
            if packed := packer.compress(chunk):
                yield packed
            heard(len(chunk))
        yield packer.flush()


@dataclass
class _Sending:
    """One image being sent."""

    pusher: Pusher
    image: Image
    report: Report
    pushed: Pushed = field(default_factory=lambda: Pushed(""))
    done: int = 0
    _told: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        """Bytes of all layers, before compression."""
        return sum(layer.size for layer in self.image.layers)

    def layers(self) -> list[dict[str, Any]]:
        """Make sure that every layer is there; return what names them, in their order."""
        with ThreadPoolExecutor(_SENDERS) as pool:
            return list(pool.map(self._layer, self.image.layers))

    def document(self, content: bytes) -> None:
        """Make sure that a small blob is there."""
        if self.pusher.destination.size_of(sha256_bytes(content)) is None:
            self._count(*self.pusher.destination.put(iter((content,))))

    def _layer(self, layer: ImageLayer) -> dict[str, Any]:
        destination = self.pusher.destination
        known = self.pusher.remembered(layer)
        if known is not None:
            there = destination.size_of(known["digest"]) == known["size"]
            if there or destination.adopt(known["digest"]):
                self._heard(layer.size)
                return known
        digest, size = destination.put(self.pusher.compressed(layer.chunks(), self._heard))
        self._count(digest, size)
        found = {"mediaType": f"{LAYER}{self.pusher.compression}", "digest": digest, "size": size}
        self.pusher.remember(layer, found)
        return found

    def _count(self, digest: str, size: int) -> None:
        with self._lock:
            self.pushed.sent.append(digest)
            self.pushed.sent_bytes += size

    def _heard(self, count: int) -> None:
        with self._lock:
            self.done += count
            if self.done - self._told < _NEWS_BYTES:
                return
            self._told = self.done
            self.report(Step("push", "the image", self.done, self.total, "bytes"))


def image_manifest(config: dict[str, Any], layers: Sequence[dict[str, Any]], **more: Any) -> bytes:
    """Return the manifest that names a configuration and layers, as canonical JSON."""
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers), **more}
    return _canonical(document)


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
