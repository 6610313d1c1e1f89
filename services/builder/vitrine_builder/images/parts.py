"""What an image is put together from: layers whose diff ids are known, or will be once they were sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from vitrine_builder.images.config import ImageLayer
from vitrine_builder.images.content import DiffIds, HashedTar, bytecode_entries
from vitrine_builder.images.tar import Tar
from vitrine_builder.layers import Layer


class Part(Protocol):
    """A layer of an image to be."""

    @property
    def size(self) -> int:
        """Bytes of the tar."""

    @property
    def is_base(self) -> bool:
        """Whether it belongs to what images stand on."""

    @property
    def is_new(self) -> bool:
        """Whether nobody here has read it before, so that no image holds it either."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar."""

    def diff_id(self) -> str:
        """Return the diff id; the tar is read for it where nobody has."""

    def finished(self) -> ImageLayer:
        """Return the layer."""

    def remember(self) -> None:
        """Keep the diff id for the next image, where that saves reading."""


@dataclass(frozen=True)
class FixedPart:
    """A layer that is known from the start."""

    layer: ImageLayer
    is_new = False

    @property
    def size(self) -> int:
        """Bytes of the tar."""
        return self.layer.size

    @property
    def is_base(self) -> bool:
        """Whether it belongs to what images stand on."""
        return self.layer.kind == "base"

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar."""
        return self.layer.chunks()

    def diff_id(self) -> str:
        """Return the diff id."""
        return self.layer.diff_id

    def finished(self) -> ImageLayer:
        """Return the layer."""
        return self.layer

    def remember(self) -> None:
        """Do nothing: there is nothing to find out."""


class _TarPart(ABC):
    """A layer whose diff id is known when its bytes went by."""

    is_base = False

    @property
    @abstractmethod
    def tar(self) -> HashedTar:
        """What is sent."""

    @property
    def size(self) -> int:
        """Bytes of the tar."""
        return self.tar.size

    @property
    def is_new(self) -> bool:
        """Whether nobody here has read it before: whatever is not remembered may have been read."""
        return False

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar."""
        return self.tar.chunks()

    def diff_id(self) -> str:
        """Return the diff id; the tar is read for it where nobody has."""
        return self.tar.diff_id()


@dataclass
class WheelsPart(_TarPart):
    """The files of some wheels. `hidden` are files of parts below that they take away."""

    layers: tuple[Layer, ...]
    hidden: tuple[str, ...]
    diff_ids: DiffIds

    @cached_property
    def tar(self) -> HashedTar:
        """What is sent."""
        return self.diff_ids.group(self.layers, self.hidden)

    @property
    def is_new(self) -> bool:
        """Whether nobody here has read it before."""
        return not self.tar.is_remembered

    def finished(self) -> ImageLayer:
        """Return the layer."""
        packages = tuple(f"{layer.package.name}=={layer.package.version}" for layer in self.layers)
        tar = self.tar
        return ImageLayer(tar.diff_id(), tar.size, "wheels", packages, tar.is_remembered, tar.chunks)

    def remember(self) -> None:
        """Keep the diff id, so that these wheels are read once."""
        if not self.tar.is_remembered:
            self.diff_ids.remember(self.layers, self.tar, self.hidden)


@dataclass
class BytecodePart(_TarPart):
    """The bytecode of some wheels. `owners` says which tree each file of the environment is out of."""

    layers: Sequence[Layer]
    owners: Mapping[str, Path]

    @cached_property
    def tar(self) -> HashedTar:
        """What is sent."""
        return HashedTar(lambda: Tar(bytecode_entries(self.layers, self.owners)))

    @property
    def has_files(self) -> bool:
        """Whether there is any."""
        return bool(self.tar.tar.entries)

    def finished(self) -> ImageLayer:
        """Return the layer."""
        return ImageLayer(self.diff_id(), self.size, "bytecode", chunks=self.tar.chunks)

    def remember(self) -> None:
        """Do nothing: what lies below changes more often than this is read."""
