"""What is in each layer of an image above the base: wheels in groups, their bytecode, what every one has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from vitrine_builder.images.config import ImageLayer, Kind
from vitrine_builder.images.tar import Entry, Tar, file_entry, link_entry, whole
from vitrine_builder.layers import Layer, LayerFile
from vitrine_builder.lock import Target
from vitrine_builder.workspace import Workspace
from vitrine_common.ids import new_id
from vitrine_common.references import mark

ROOT = "env"
_FORMAT = 2
"""Counts changes in how layers are written; what is remembered of older ones is not used."""
_SUFFIX = ".cpython-311.pyc"
WHITEOUT = ".wh."
PYTHON_HOME = "/opt/python/bin"
"""Where a sandbox sees the Python installation's programs."""


def merge(layers: Iterable[Layer]) -> dict[str, tuple[Layer, LayerFile]]:
    """Decide which layer each file comes from. Where two have one, the later wins.

    Conda's packages bring bytecode, which is believed unchecked: that of a source that loses goes with it.
    """
    found: dict[str, tuple[Layer, LayerFile]] = {}
    for layer in layers:
        own = {file.path: (layer, file) for file in layer.listing}
        for path in own.keys() & found.keys():
            found.pop(bytecode_of(path), None)
        found.update(own)
    return found


def outdated(groups: Sequence[Sequence[Layer]]) -> list[tuple[str, ...]]:
    """Return for each group the bytecode in groups below it whose sources it hides, sorted."""
    below: set[str] = set()
    found = []
    for layers in groups:
        files = [file.path for layer in layers for file in layer.listing]
        hides = {bytecode_of(path) for path in files if path.endswith(".py")} & below if below else ()
        found.append(tuple(sorted(hides)))
        below |= {path for path in files if path.endswith(".pyc")}
    return found


def bytecode_of(path: str) -> str:
    """Return where imports look for the bytecode of the source at `path`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}__pycache__/{name.removesuffix('.py')}{_SUFFIX}"


def source_of(path: str) -> str:
    """Return the source of which the bytecode at `path` is."""
    folder, _, name = path.rpartition("/")
    return f"{folder.rpartition('/')[0]}/{name.removesuffix(_SUFFIX)}.py"


def reserved(target: Target) -> frozenset[str]:
    """Return the files of an environment that no package may bring."""
    programs = (f"bin/{name}" for name in ("python", "python3", f"python{target.python}"))
    return frozenset({*programs, "pyvenv.cfg", "environment.json", "bytecode.json"})


def configuration(target: Target) -> str:
    """Return the content of `pyvenv.cfg`."""
    return f"home = {PYTHON_HOME}\ninclude-system-site-packages = false\nversion = {target.python}\n"


def wheel_entries(layers: Sequence[Layer], target: Target, hidden: Sequence[str] = ()) -> tuple[Entry, ...]:
    """Return the members of the layer that holds `layers`; folders above them included.

    `hidden` are files of layers below that must not be seen any more.
    """
    kept = reserved(target)
    merged = merge(layers)
    entries = [
        Entry(f"{ROOT}/{path}", 0o555 if file.executable else 0o444, file.size, layer.source(path))
        for path, (layer, file) in merged.items()
        # A layer's format gives such names a meaning of their own: they hide what lies below.
        if path not in kept and f"/{WHITEOUT}" not in f"/{path}"
    ]
    for path in hidden:
        folder, _, name = path.rpartition("/")
        if path not in merged:
            entries.append(file_entry(f"{ROOT}/{folder}/{WHITEOUT}{name}", b""))
    return whole(entries)


def bytecode_entries(layers: Sequence[Layer], owners: Mapping[str, Path]) -> tuple[Entry, ...]:
    """Return the members of the layer that holds the bytecode of `layers`.

    `owners` says which tree each file of the environment is out of: what another has hidden has none.
    """
    return whole(
        Entry(f"{ROOT}/{file.path}", 0o444, file.size, f"{compiled.tree}/{file.path}")
        for layer in layers
        for compiled in (layer.compiled,)
        if compiled is not None
        for file in compiled.listing
        if owners.get(source_of(file.path)) == layer.tree and file.path.rpartition("/")[0] not in owners
    )


def meta_layer(target: Target, prefix: str) -> ImageLayer:
    """Return what every environment has: its interpreter, and where the base keeps Python."""
    python = f"python{target.python}"
    entries = [
        link_entry(f"{ROOT}/bin/python", f"{PYTHON_HOME}/{python}"),
        link_entry(f"{ROOT}/bin/python3", "python"),
        link_entry(f"{ROOT}/bin/{python}", "python"),
        file_entry(f"{ROOT}/pyvenv.cfg", configuration(target).encode()),
        Entry(f"{ROOT}/lib/{python}/site-packages/", 0o755),
        link_entry("opt/python", prefix),
    ]
    return _layer(Tar(whole(entries)), "meta", reused=True)


def _layer(tar: Tar, kind: Kind, *, reused: bool) -> ImageLayer:
    return ImageLayer(tar.digest(), tar.size, kind, (), reused, tar.chunks)


class HashedTar:
    """A tar whose diff id is known once all of its chunks went by; put together when somebody wants them."""

    def __init__(self, make: Callable[[], Tar], known: Hashed | None = None) -> None:
        self._make = make
        self._known = known
        self._digest: str | None = None

    @cached_property
    def tar(self) -> Tar:
        """The tar itself."""
        return self._make()

    @cached_property
    def size(self) -> int:
        """Bytes of the tar."""
        return self._known.size if self._known is not None else self.tar.size

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar, and know its diff id afterwards."""
        digest = hashlib.sha256()
        for chunk in self.tar.chunks():
            digest.update(chunk)
            yield chunk
        self._digest = f"sha256:{digest.hexdigest()}"

    @property
    def is_remembered(self) -> bool:
        """Whether the diff id was known from the start."""
        return self._known is not None

    def diff_id(self) -> str:
        """Return the diff id, read for it where nobody has."""
        if self._known is not None:
            return self._known.diff_id
        if self._digest is None:
            for _ in self.chunks():
                pass
        assert self._digest is not None
        return self._digest


class Hashed(NamedTuple):
    """What is remembered of a tar."""

    diff_id: str
    size: int


@dataclass(frozen=True)
class DiffIds:
    """Remembers the diff id of each set of layers, so that a tar is hashed once."""

    workspace: Workspace
    target: Target

    def group(self, layers: Sequence[Layer], hidden: Sequence[str] = ()) -> HashedTar:
        """Return the tar of `layers`, with its diff id where it was hashed before."""
        place = self._place(layers, hidden)
        try:
            known = Hashed(*json.loads(place.read_bytes()))
            mark(place)
        except (FileNotFoundError, ValueError):
            known = None
        return HashedTar(lambda: Tar(wheel_entries(layers, self.target, hidden)), known)

    def remember(self, layers: Sequence[Layer], tar: HashedTar, hidden: Sequence[str] = ()) -> None:
        """Keep the diff id of `layers`."""
        place = self._place(layers, hidden)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = self.workspace.drafts / new_id("diff")
        draft.write_text(json.dumps([tar.diff_id(), tar.size]))
        draft.replace(place)

    def _place(self, layers: Sequence[Layer], hidden: Sequence[str]) -> Path:
        names = [_FORMAT, [layer.tree.parent.name for layer in layers], list(hidden)]
        name = hashlib.sha256(json.dumps(names).encode()).hexdigest()
        return self.workspace.images / "diffs" / name
