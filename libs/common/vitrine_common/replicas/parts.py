"""What an environment is put together from elsewhere: archives by digest, and which of their files count."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

AREA = "environments/"
"""Where archives and what names them lie in the bucket: apart from the blobs that accounts refer to."""
MAX_REPLICA_BYTES = 64 << 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Archive(_Part):
    """A tar compressed by zstd.

    Attributes:
        digest: of the compressed bytes.
        size: their number.
        unpacked: bytes of the files in it.
    """

    digest: str
    size: int
    unpacked: int


class BytecodePart(_Part):
    """Bytecode of a layer: the folder `name` beside its tree."""

    name: str
    archive: Archive
    without: tuple[str, ...] = ()


class LayerPart(_Part):
    """One layer.

    Attributes:
        name: of its folder among the layers.
        archive: `layer.json` and what is below `tree/`.
        without: files of the tree that the environment does not have from this layer: another brings them, or
            no package may.
    """

    name: str
    archive: Archive
    without: tuple[str, ...] = ()
    bytecode: BytecodePart | None = None


class RootPart(_Part):
    """The root file system of an environment with system packages. `name` is that of its folder."""

    name: str
    archive: Archive


class Replica(_Part):
    """An environment, to be put together on another host.

    Attributes:
        description: the text of its `environment.json`.
        completion: the text of its `bytecode.json`; None while bytecode is still to come.
        files: other files of its own, by path.
        links: its symbolic links, by path.
    """

    description: str
    completion: str | None
    files: dict[str, str]
    links: dict[str, str]
    layers: tuple[LayerPart, ...]
    root: RootPart | None = None
