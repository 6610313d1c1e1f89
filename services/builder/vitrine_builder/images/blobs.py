"""Images for a Docker daemon that keeps them in containerd: an archive of the blobs that it lacks.

Such a daemon has layers as blobs by digest, wherever in an image they lie, and takes an OCI layout that
leaves out those that it has. It hashes every file of an archive whatever the file's name is, so layers are
hashed here while they are sent, and the manifest comes last. Source: OCI image layout; containerd's
`images/archive`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vitrine_builder.images.config import Image
from vitrine_builder.images.docker import REPOSITORY, Daemon, MissingLayer
from vitrine_builder.images.parts import Part
from vitrine_builder.images.registry import INDEX, MANIFEST, descriptor
from vitrine_builder.images.registry_push import CONFIG, image_manifest
from vitrine_builder.images.tar import BLOCK, header, padding
from vitrine_builder.progress import Step
from vitrine_common.digests import sha256_bytes

if TYPE_CHECKING:
    from vitrine_builder.images.work import ImageWork

LAYER = "application/vnd.oci.image.layer.v1.tar"


class BlobDelivery:
    """Brings one image to a daemon; blobs that images of ours or the base have there stay at home.

    Without `trust`, nothing but the base is believed to be there.
    """

    def __init__(self, work: ImageWork, daemon: Daemon, *, trust: bool = True) -> None:
        self._work = work
        self._daemon = daemon
        base = work.images.base.digest
        self._base = dict(zip(daemon.layers_of(base), daemon.blobs_of(base), strict=False))
        self._known = {layer for layers in daemon.own_layers() for layer in layers} if trust else set()
        self._manifest = b""

    def run(self) -> Image:
        """Send what is missing; return the image, which the daemon has.

        Raises:
            MissingLayer: a blob that was left out is not there.
            BuildFailure: the daemon is away, full, or has something else than it was sent.
            Abandoned: nobody waits for the image any more.
        """
        work = self._work
        missing = [part for part in work.parts if not self._has(part)]
        work.report(Step("load", f"{len(missing)} layers", 0, None, None))
        name = f"{REPOSITORY}:{work.tag}"
        try:
            self._daemon.load(self._archive(missing))
        except MissingLayer:
            # It has the name already, of an image that cannot run.
            self._daemon.forget(name)
            raise
        image = work.image()
        self._daemon.verify(sha256_bytes(self._manifest), [layer.diff_id for layer in image.layers], name)
        return image

    def _has(self, part: Part) -> bool:
        # Only then: to know a diff id may mean to read the tar.
        return not part.is_new and (part.diff_id() in self._base or part.diff_id() in self._known)

    def _archive(self, missing: Sequence[Part]) -> Iterator[bytes]:
        for number, part in enumerate(missing):
            yield header(f"layers/{number}", part.size)
            for chunk in part.chunks():
                self._work.check()
                yield chunk
            yield padding(part.size)
        for path, content in self._documents():
            yield header(path, len(content)) + content + padding(len(content))
        yield bytes(2 * BLOCK)

    def _documents(self) -> Iterator[tuple[str, bytes]]:
        """Yield what names the layers, when all of them are known."""
        image = self._work.image()
        layers = [
            self._base.get(layer.diff_id) or {"mediaType": LAYER, "digest": layer.diff_id, "size": layer.size}
            for layer in image.layers
        ]
        self._manifest = image_manifest(descriptor(CONFIG, image.config), layers)
        named: dict[str, Any] = descriptor(MANIFEST, self._manifest)
        named["annotations"] = {
            "io.containerd.image.name": f"docker.io/{REPOSITORY}:{self._work.tag}",
            "org.opencontainers.image.ref.name": self._work.tag,
        }
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
        yield "config", image.config
        yield "manifest", self._manifest
        yield "index.json", json.dumps(index).encode()
        yield "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
