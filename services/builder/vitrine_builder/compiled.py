"""Bytecode of layers: in a folder beside each layer's tree, there completely or not at all.

A layer is of use without it, for Python compiles in memory what it finds no bytecode of. So its making is not
waited for. Interpreters of one magic number may write different bytecode: each has a folder of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vitrine_builder.bytecode import Compiled, Folder, Pauses
from vitrine_builder.failures import disk_errors
from vitrine_builder.layers import INSIDE, Bytecode, Layer, LayerFile, LayerStore, list_files
from vitrine_common.drafts import publish

_WAIT_SECONDS = 0.05
OnLayer = Callable[[Layer], None]


@dataclass(frozen=True)
class BytecodeStore:
    """Makes the bytecode of layers and finds what exists."""

    layers: LayerStore
    _known: dict[Path, Bytecode] = field(default_factory=dict, repr=False, compare=False)

    def find(self, layer: Layer) -> Layer | None:
        """Return `layer` with its bytecode, or None when it has to be compiled.

        Conda's packages bring their own.
        """
        if layer.compiled is not None or layer.package.conda:
            return layer
        place = self._place(layer)
        known = self._known.get(place)
        if known is None or not known.tree.is_dir():
            try:
                kept = json.loads((place / "bytecode.json").read_bytes())
            except FileNotFoundError:
                return None
            listing = tuple(LayerFile(*entry) for entry in kept["listing"])
            known = self._known[place] = Bytecode(place / "tree", listing, kept["uncompiled"])
        return replace(layer, compiled=known)

    async def make(self, layers: Sequence[Layer], on_layer: OnLayer, pauses: Pauses | None = None) -> None:
        """Compile `layers`, the first ones first, and tell of each as soon as it has its bytecode.

        What another builder is compiling is waited for. With `pauses` it is work for when nothing else is
        to be done.

        Raises:
            BuildFailure: bytecode cannot be written, or not in time.
            FileNotFoundError: a layer was removed meanwhile.
        """
        left = list(layers)
        while left:
            with self.layers.workspace.uses.claims() as claims:
                mine = [layer for layer in left if claims.take(f"compiling {layer.tree.parent.name}")]
                missing = []
                for layer in mine:
                    if (found := self.find(layer)) is not None:
                        on_layer(found)
                    else:
                        missing.append(layer)
                await self._compile(missing, on_layer, pauses)
            taken = {layer.tree for layer in mine}
            left = [layer for layer in left if layer.tree not in taken]
            if left:
                await asyncio.sleep(_WAIT_SECONDS)

    async def _compile(self, layers: Sequence[Layer], on_layer: OnLayer, pauses: Pauses | None) -> None:
        failures: list[Exception] = []
        site = self.layers.site_packages
        with disk_errors(), contextlib.ExitStack() as stack:
            drafts = [stack.enter_context(self.layers.workspace.draft()) for _ in layers]

            def done(number: int, compiled: Compiled) -> None:
                try:
                    on_layer(self._finish(layers[number], drafts[number], compiled.failed))
                except Exception as error:  # noqa: BLE001 - raised below, where somebody waits for it
                    failures.append(error)

            folders = [
                Folder(layer.tree / site, f"{INSIDE}/{site}", draft / "tree" / site)
                for layer, draft in zip(layers, drafts, strict=True)
            ]
            for folder in folders:
                folder.target.mkdir(parents=True)
            await self.layers.compiler.compile(folders, done, pauses)
            if failures:
                raise failures[0]

    def _finish(self, layer: Layer, draft: Path, uncompiled: int) -> Layer:
        listing = list_files(draft / "tree")
        kept = {"uncompiled": uncompiled, "listing": listing}
        (draft / "bytecode.json").write_text(json.dumps(kept))
        place = self._place(layer)
        publish(draft, place)
        known = self._known[place] = Bytecode(place / "tree", listing, uncompiled)
        return replace(layer, compiled=known)

    def _place(self, layer: Layer) -> Path:
        return layer.tree.parent / f"bytecode-{self.layers.compiler.version}"
