"""What is in each layer of an image above the base: wheels in groups, and what every environment has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder.images.config import ImageLayer, Kind
from vitrine_builder.images.tar import Entry, Tar, file_entry, link_entry, whole
from vitrine_builder.layers import Layer, LayerFile
from vitrine_builder.lock import Target
from vitrine_builder.workspace import Workspace

ROOT = "env"
_FORMAT = 1
"""Counts changes in how layers are written; what is remembered of older ones is not used."""
PYTHON_HOME = "/opt/python/bin"
"""Where a sandbox sees the Python installation's programs."""


def merge(layers: Iterable[Layer]) -> dict[str, tuple[Layer, LayerFile]]:
    """Decide which layer each file comes from. Where two have one, the later wins, with its own bytecode."""
    found: dict[str, tuple[Layer, LayerFile]] = {}
    for layer in layers:
        own = {file.path: (layer, file) for file in layer.everything}
        for path in own.keys() & found.keys():
            # Bytecode is believed unchecked: that of the source that loses must go with it.
            found.pop(bytecode_of(path), None)
        found.update(own)
    return found


def bytecode_of(path: str) -> str:
    """Return where imports look for the bytecode of the source at `path`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"


def reserved(target: Target) -> frozenset[str]:
    """Return the files of an environment that no package may bring."""
    programs = (f"bin/{name}" for name in ("python", "python3", f"python{target.python}"))
    return frozenset({*programs, "pyvenv.cfg", "environment.json", "bytecode.json"})


def configuration(target: Target) -> str:
    """Return the content of `pyvenv.cfg`."""
    return f"home = {PYTHON_HOME}\ninclude-system-site-packages = false\nversion = {target.python}\n"


def wheel_entries(layers: Sequence[Layer], target: Target) -> tuple[Entry, ...]:
    """Return the members of the layer that holds `layers`; folders above them included.

    A source that does not compile takes the bytecode along that a layer below may have for it.
    """
    kept = reserved(target)
    entries = []
    merged = merge(layers)
    for path, (layer, file) in merged.items():
        if path in kept:
            continue
        mode = 0o555 if file.executable else 0o444
        entries.append(Entry(f"{ROOT}/{path}", mode, file.size, layer.source(path)))
        if path.endswith(".py") and _compiles(path) and bytecode_of(path) not in merged:
            folder, _, name = bytecode_of(path).rpartition("/")
            entries.append(file_entry(f"{ROOT}/{folder}/.wh.{name}", b""))
    return whole(entries)


def _compiles(path: str) -> bool:
    return not {"test", "tests"}.intersection(path.split("/")[:-1])


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
    """A tar whose diff id is known once all of its chunks went by."""

    def __init__(self, tar: Tar, known: str | None) -> None:
        self.tar = tar
        self.size = tar.size
        self.diff_id = known

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar, and know its diff id afterwards."""
        digest = hashlib.sha256()
        for chunk in self.tar.chunks():
            digest.update(chunk)
            yield chunk
        self.diff_id = f"sha256:{digest.hexdigest()}"

    def known(self) -> str:
        """Return the diff id, read for it where nobody has."""
        if self.diff_id is None:
            for _ in self.chunks():
                pass
        assert self.diff_id is not None
        return self.diff_id


@dataclass(frozen=True)
class DiffIds:
    """Remembers the diff id of each set of layers, so that a tar is hashed once."""

    workspace: Workspace
    target: Target

    def group(self, layers: Sequence[Layer]) -> HashedTar:
        """Return the tar of `layers`, with its diff id where it was hashed before."""
        try:
            known = json.loads(self._place(layers).read_bytes())
        except (FileNotFoundError, ValueError):
            known = None
        return HashedTar(Tar(wheel_entries(layers, self.target)), known)

    def remember(self, layers: Sequence[Layer], tar: HashedTar) -> None:
        """Keep the diff id of `layers`."""
        place = self._place(layers)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = self.workspace.drafts / place.name
        draft.write_text(json.dumps(tar.known()))
        draft.replace(place)

    def _place(self, layers: Sequence[Layer]) -> Path:
        names = [_FORMAT, *(layer.tree.parent.name for layer in layers)]
        name = hashlib.sha256(json.dumps(names).encode()).hexdigest()
        return self.workspace.images / "diffs" / name
