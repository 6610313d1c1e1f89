"""A Docker daemon that gets images by archives which hold only the layers that it lacks.

A daemon with graph drivers (overlay2) names a layer by the diff ids of everything below it and skips the file
of a layer that it knows. Layers are sent as soon as they are made: an archive ends with the configuration of
the image so far, and the next one goes on where it stopped. A daemon that keeps images in containerd is sent
blobs instead: see `blobs`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images.config import LABEL, BaseImage, ImageLayer
from vitrine_builder.images.tar import BLOCK, CHUNK, header, padding
from vitrine_common.digests import sha256_bytes

log = logging.getLogger(__name__)

REPOSITORY = "vitrine/env"
PARTIAL_LABEL = "partial"
PARTIAL = f"{LABEL}{PARTIAL_LABEL}"
_MISSING_BLOB = re.compile(r"content digest sha256:\w+: not found")
_MOST_DOCUMENT = 4 << 20
"""Bytes of a manifest or configuration; containerd reads no larger ones either."""


class Sendable(Protocol):
    """A layer to send."""

    @property
    def size(self) -> int:
        """Bytes of the tar."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar."""


@dataclass
class Daemon:
    """A Docker daemon; threads may share it."""

    url: str
    timeout: float = 600.0
    _layers: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    _blobs: dict[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False)
    _keeps_blobs: bool = field(default=False, repr=False)
    _client: docker.APIClient | None = field(default=None, repr=False)
    _opening: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def client(self) -> docker.APIClient:
        """The connection, made when it is first needed.

        Raises:
            BuildFailure: nobody answers.
        """
        with self._opening:
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> docker.APIClient:
        try:
            _knock(self.url)
            client = docker.APIClient(base_url=self.url, version="auto", timeout=self.timeout)
            self._keeps_blobs = _in_containerd(client.info())
        except (DockerException, OSError) as error:
            raise _unreachable(error) from None
        return client

    @property
    def keeps_blobs(self) -> bool:
        """Whether it keeps images in containerd, as blobs. Raises BuildFailure."""
        return self.client is not None and self._keeps_blobs

    def close(self) -> None:
        """Let the connection go."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def inspect(self, reference: str) -> dict[str, Any] | None:
        """Return what the daemon says of an image, or None when it has none of that name."""
        try:
            return dict(self.client.inspect_image(reference))
        except ImageNotFound:
            return None
        except (DockerException, OSError) as error:
            raise _unreachable(error) from None

    def import_root(self, archive: Path, name: str, digest: str) -> str:
        """Load a root file system as an image of one layer, unless it is there; return its name with a tag.

        Raises:
            BuildFailure: the daemon does not take it.
        """
        tag = digest.removeprefix("sha256:")[:12]
        if self.inspect(f"{name}:{tag}") is None:
            try:
                self.client.import_image_from_file(str(archive), repository=name, tag=tag)
            except (DockerException, OSError) as error:
                raise _unreachable(error) from None
        return f"{name}:{tag}"

    def base(self, reference: str) -> BaseImage:
        """Return an image that the daemon has as the base of others.

        Raises:
            BuildFailure: there is none.
        """
        found = self.inspect(reference)
        if found is None:
            sentence = (
                f"The Docker daemon has no image `{reference}` to build on; pull it or run `make base`."
            )
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        diff_ids = found["RootFS"]["Layers"]
        layers = tuple(ImageLayer(diff_id, 0, "base", (), reused=True) for diff_id in diff_ids)
        settings = dict(found["Config"] or {})
        variables = settings.get("Env") or []
        prefix = "/usr/local" if any(item.startswith("PYTHON_VERSION=") for item in variables) else "/usr"
        return BaseImage(found["Id"], layers, settings, found["Architecture"], prefix)

    def layers_of(self, image: str) -> tuple[str, ...]:
        """Return the diff ids of an image; empty when there is none."""
        found = self.inspect(image)
        return tuple(found["RootFS"].get("Layers") or []) if found else ()

    def blobs_of(self, image: str) -> list[dict[str, Any]]:
        """Return what names the layers of an image as blobs, where the daemon keeps blobs; else nothing.

        The daemon tells it with the whole image only, so it is asked once.
        """
        if image not in self._blobs and self.keeps_blobs:
            layers = self.layers_of(image)
            try:
                self._blobs[image] = (
                    _named_blobs(self.client.get_image(image, CHUNK), layers) if layers else []
                )
            except (DockerException, OSError) as error:
                raise _unreachable(error) from None
        return self._blobs.get(image, [])

    def own_layers(self) -> list[tuple[str, ...]]:
        """Return the diff ids of every image of ours, unfinished ones included."""
        # An image's id is the digest of what names its layers: it is asked for once.
        self._layers = {image: self._layers.get(image) or self.layers_of(image) for image in self._own()}
        return list(self._layers.values())

    def _own(self) -> list[str]:
        try:
            named = self.client.images(name=REPOSITORY, quiet=True)
            unfinished = self.client.images(filters={"label": PARTIAL}, quiet=True, all=True)
        except (DockerException, OSError) as error:
            raise _unreachable(error) from None
        return list(dict.fromkeys([*named, *unfinished]))

    def load(self, archive: Iterator[bytes]) -> None:
        """Send an archive.

        Raises:
            MissingLayer: a layer that was left out is not there.
            BuildFailure: the daemon refuses it or is away.
        """
        try:
            for answer in self.client.load_image(archive, quiet=True):
                if "error" in answer:
                    _refuse(str(answer["error"]))
        except APIError as error:
            _refuse(str(error.explanation or error))
        except (DockerException, OSError) as error:
            raise _unreachable(error) from None

    def forget(self, image: str) -> None:
        """Remove one name or id of an image, if it is there and nothing uses it."""
        with contextlib.suppress(DockerException, OSError):
            self.client.remove_image(image, noprune=False)

    def unfinished(self, environment: str) -> list[str]:
        """Return the ids of images that were begun for an environment."""
        label = f"{PARTIAL}={environment.removeprefix('sha256:')}"
        with contextlib.suppress(DockerException, OSError):
            return list(self.client.images(filters={"label": label}, quiet=True, all=True))
        return []

    def verify(self, digest: str, diff_ids: Sequence[str], name: str) -> None:
        """Check that what the daemon has under `name` is exactly this image, whose id is `digest`.

        Raises:
            BuildFailure: it has not.
        """
        found = self.inspect(name)
        if found is None or found["Id"] != digest or list(found["RootFS"]["Layers"]) != list(diff_ids):
            sentence = "The Docker daemon does not have the image that it was sent; tell the operator."
            raise BuildFailure(FailureReason.INTERNAL, sentence)


class MissingLayer(Exception):
    """The daemon lost a layer that it was believed to have."""


@dataclass(frozen=True)
class Archive:
    """One archive for `docker load`: the layers from `first` on, and the image that they end in.

    `config` is asked for when the layers went by, since their diff ids may be known only then.
    """

    layers: Sequence[Sendable]
    first: int
    tag: str | None

    def chunks(self, config: ConfigOf) -> Iterator[bytes]:
        """Yield the archive. Paths of layers before `first` are named, and not there."""
        for number, layer in enumerate(self.layers[self.first :], self.first):
            yield header(_path(number), layer.size)
            yield from layer.chunks()
            yield padding(layer.size)
        document = config()
        name = f"{sha256_bytes(document).removeprefix('sha256:')}.json"
        manifest = [
            {
                "Config": name,
                "RepoTags": [self.tag] if self.tag else None,
                "Layers": [_path(number) for number in range(len(self.layers))],
            }
        ]
        for path, content in ((name, document), ("manifest.json", json.dumps(manifest).encode())):
            yield header(path, len(content)) + content + padding(len(content))
        yield bytes(2 * BLOCK)


class ConfigOf(Protocol):
    """Gives the configuration that ends an archive."""

    def __call__(self) -> bytes:
        """Return it; all diff ids are known."""


def _path(number: int) -> str:
    return f"{number}/layer.tar"


def _knock(url: str) -> None:
    """Raise OSError where nobody listens: the client library would leave an open socket behind."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(url.removeprefix("unix://"))


def _in_containerd(info: Mapping[str, Any]) -> bool:
    status = info.get("DriverStatus") or []
    return any("io.containerd.snapshotter" in str(value) for _key, value in status)


class _Received(io.RawIOBase):
    """What the daemon sends, as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _named_blobs(archive: Iterator[bytes], diff_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the layers' descriptors out of what `docker save` gives; empty where they are not told."""
    documents: dict[str, dict[str, Any]] = {}
    with tarfile.open(fileobj=io.BufferedReader(_Received(archive), CHUNK), mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.size <= _MOST_DOCUMENT else None
            with contextlib.suppress(ValueError):
                document = json.loads(file.read()) if file is not None else None
                if isinstance(document, dict):
                    documents[f"sha256:{member.name.rpartition('/')[2]}"] = document
    for document in documents.values():
        config = documents.get(str((document.get("config") or {}).get("digest")), {})
        if config.get("rootfs", {}).get("diff_ids") == list(diff_ids):
            return list(document["layers"])
    return []


def _refuse(message: str) -> None:
    if "layer.tar: no such file" in message or _MISSING_BLOB.search(message):
        raise MissingLayer(message)
    if "no space left" in message:
        sentence = "The Docker daemon's disk is full; try again later or tell the operator of the platform."
        raise BuildFailure(FailureReason.DISK_FULL, sentence)
    log.error("image refused", extra={"error": message})
    sentence = "The Docker daemon refused the image; the operator finds its reason in the builder's log."
    raise BuildFailure(FailureReason.INTERNAL, sentence)


def _unreachable(error: Exception) -> BuildFailure:
    log.warning("docker daemon", extra={"error": repr(error)})
    sentence = "The Docker daemon does not answer; try again later or tell the operator of the platform."
    return BuildFailure(FailureReason.INTERNAL, sentence)
