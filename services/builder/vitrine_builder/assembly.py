"""An environment's folder, laid out by hard links, and corrected as more becomes known of what belongs in it.

Making the links takes longer than anything else when one package is added to a list. So it begins with what
is believed to be in the environment (the layers that exist, or those of a similar list while versions are
still being chosen) and ends with what is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images.content import PYTHON_HOME, configuration, merge, reserved, source_of
from vitrine_builder.images.plan import plan_layers
from vitrine_builder.layers import Layer, LayerFile
from vitrine_builder.lock import Lock, Target
from vitrine_builder.workspace import Workspace
from vitrine_common.drafts import link

_LINKERS = 3
"""Threads that make folders and hard links; the kernel lets them work in different folders."""
_SUBTREE_DEPTH = 4
"""Of `lib/python3.11/site-packages/<package>`."""


@dataclass
class Assembly:
    """The folder `root`, empty at first; nothing else writes there."""

    root: Path
    target: Target
    files: int = 0
    size: int = 0
    _laid: dict[str, str] = field(default_factory=dict)
    _whole: frozenset[Path] = frozenset()
    """Trees of the layers that are laid, when all of their files are."""
    _folders: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lay(self, layers: Sequence[Layer]) -> None:
        """Make the folder hold exactly the files of `layers`; may be called again with others.

        Where two packages have a file of one name, the one wins that lies higher in the environment's image.
        Nothing of a package runs: `.pth` files and a `sitecustomize` are files like others here, and act
        only inside a sandbox.

        Raises:
            BuildFailure: one package has a file where another has a folder.
            OSError: the disk is full.
        """
        if not self._folders:
            self._lay_interpreter()
        trees = frozenset(layer.tree for layer in layers)
        grows = bool(self._whole) and self._whole <= trees
        more = self._files([layer for layer in layers if layer.tree not in self._whole]) if grows else {}
        if not grows or more.keys() & self._laid.keys():
            more = self._files(layers)
            self.files = self.size = 0
            self._remove({path: layer.source(path) for path, (layer, _file) in more.items()})
        self._whole = frozenset()
        self.files += len(more)
        self.size += sum(file.size for _layer, file in more.values())
        try:
            self._add({path: layer.source(path) for path, (layer, _file) in more.items()})
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            relative = os.path.relpath(error.filename2 or error.filename, self.root)
            sentence = f"Two packages disagree about `{relative}`: a file in one, a folder in the other."
            raise BuildFailure(FailureReason.CONFLICT, sentence) from None
        if not self._stop.is_set():
            self._whole = trees

    def _files(self, layers: Sequence[Layer]) -> dict[str, tuple[Layer, LayerFile]]:
        """Return which layer each file of an environment of `layers` is from."""
        ordered = [layer for group in plan_layers(layers) for layer in group]
        kept = reserved(self.target)
        return {path: found for path, found in merge(ordered).items() if path not in kept}

    def pause(self) -> None:
        """Let a `lay` that runs in another thread return early."""
        self._stop.set()

    def resume(self) -> None:
        """Let the next `lay` run to its end."""
        self._stop.clear()

    def _remove(self, wanted: Mapping[str, str]) -> None:
        """Remove what was laid and does not belong here, and folders that held nothing else."""
        for path in [path for path, source in self._laid.items() if wanted.get(path) != source]:
            Path(f"{self.root}/{path}").unlink()
            del self._laid[path]
        holding = {path.rpartition("/")[0] for path in wanted}
        needed = holding | {folder for path in holding for folder in _above(path)} | self._own
        for folder in sorted(self._folders - needed, reverse=True):
            # One that a file stood in the way of was never made.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (self.root / folder).rmdir()
            self._folders.discard(folder)

    def _add(self, wanted: Mapping[str, str]) -> None:
        folders: dict[str, list[tuple[str, str]]] = {}
        for path, source in wanted.items():
            if path not in self._laid:
                folders.setdefault(path.rpartition("/")[0], []).append((path, source))
        # What lies below one package's folder is one thread's: folders take longer to make than links.
        subtrees: dict[str, list[str]] = {}
        for folder in sorted(folders):
            subtrees.setdefault("/".join(folder.split("/")[:_SUBTREE_DEPTH]), []).append(folder)
        parts = sorted(subtrees.values(), key=lambda part: -sum(len(folders[name]) for name in part))
        with ThreadPoolExecutor(_LINKERS) as pool:
            for done in [pool.submit(self._link_all, part, folders) for part in parts]:
                done.result()

    def _link_all(self, part: Iterable[str], folders: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        for name in part:
            if self._stop.is_set():
                return
            self._make(name)
            folder = folders[name]
            done = 0
            try:
                for path, source in folder:
                    link(source, f"{self.root}/{path}")
                    done += 1
            finally:
                with self._lock:
                    self._laid.update(folder[:done])

    def _make(self, folder: str) -> None:
        missing = []
        while folder and folder not in self._folders:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for name in reversed(missing):
            # Known once it is there: another thread may look for it.
            (self.root / name).mkdir(exist_ok=True)
            self._folders.add(name)

    @property
    def _own(self) -> set[str]:
        return {
            "bin",
            "lib",
            f"lib/python{self.target.python}",
            f"lib/python{self.target.python}/site-packages",
        }

    def _lay_interpreter(self) -> None:
        python = f"python{self.target.python}"
        (self.root / "lib" / python / "site-packages").mkdir(parents=True)
        programs = self.root / "bin"
        programs.mkdir()
        (programs / "python").symlink_to(f"{PYTHON_HOME}/{python}")
        (programs / "python3").symlink_to("python")
        (programs / python).symlink_to("python")
        (self.root / "pyvenv.cfg").write_text(configuration(self.target))
        self._folders.update(self._own)


def link_bytecode(root: Path, layer: Layer, owners: Mapping[str, Path]) -> None:
    """Link the bytecode of `layer` into the environment `root`, where that has the source out of its tree.

    Nothing is replaced. `owners` says which tree each file of the environment is out of.

    Raises:
        FileNotFoundError: the environment is gone.
        OSError: the disk is full.
    """
    made: dict[str, bool] = {}
    compiled = layer.compiled
    for file in compiled.listing if compiled else ():
        folder = file.path.rpartition("/")[0]
        if compiled is None or owners.get(source_of(file.path)) != layer.tree:
            continue
        if folder not in made:
            made[folder] = _make_folder(f"{root}/{folder}")
        if made[folder]:
            with contextlib.suppress(FileExistsError):
                link(f"{compiled.tree}/{file.path}", f"{root}/{file.path}")


def _make_folder(folder: str) -> bool:
    """Make a folder; False where a package has put a file in its place."""
    try:
        os.mkdir(folder)  # noqa: PTH102 - strings are what is at hand, thousands of them
    except FileExistsError:
        return os.path.isdir(folder)  # noqa: PTH112 - as above
    return True


@dataclass
class Ahead:
    """An assembly that may be begun on a guess. `take` gives it to whoever knows better.

    `wanted` are the packages that the author names, as far as that is known; `laying` is what works on it.
    """

    workspace: Workspace
    target: Target
    wanted: frozenset[str] = frozenset()
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _assembly: Assembly | None = None
    laying: asyncio.Task[None] | None = None
    _taken: bool = False
    _begun: frozenset[Path] = frozenset()

    async def go_on(self, layers: Sequence[Layer]) -> None:
        """Lay out `layers` meanwhile, in place of what was guessed, unless that is just these."""
        if self.laying is None or self._begun != {layer.tree for layer in layers}:
            await self.take()
            self.begin(layers)

    def begin(self, layers: Sequence[Layer], after_seconds: float = 0.0) -> None:
        """Lay out `layers` meanwhile; not while something else is being laid out."""

        async def lay() -> None:
            await asyncio.sleep(after_seconds)
            if not self._taken:
                await asyncio.to_thread(self._open().lay, layers)

        self._taken = False
        self._begun = frozenset(layer.tree for layer in layers)
        self.laying = asyncio.create_task(lay())

    async def take(self, layers: Sequence[Layer] = ()) -> Assembly:
        """Return the folder with what is in it; what is not of `layers` alone is laid out no further."""
        if not self._begun or not self._begun <= {layer.tree for layer in layers}:
            self._interrupt()
        await self._end()
        self._open().resume()
        return self._open()

    async def close(self) -> None:
        """Remove the folder, unless it was published; whoever lays files out is stopped first."""
        self._interrupt()
        await self._end()
        await asyncio.to_thread(self._stack.close)

    def _open(self) -> Assembly:
        if self._assembly is None:
            self._assembly = Assembly(self._stack.enter_context(self.workspace.draft()), self.target)
        return self._assembly

    def _interrupt(self) -> None:
        self._taken = True
        if self._assembly is not None:
            self._assembly.pause()

    async def _end(self) -> None:
        if self.laying is not None:
            # Not cancelled with whoever waits: the thread behind it would go on where nobody waits for it.
            await asyncio.wait([self.laying])
            # What went wrong with a guess goes wrong again where it matters.
            await asyncio.gather(self.laying, return_exceptions=True)
            self.laying = None


@contextlib.asynccontextmanager
async def begin_ahead(
    workspace: Workspace, target: Target, layers: Sequence[Layer] = (), after_seconds: float = 0.0
) -> AsyncIterator[Ahead]:
    """Give an assembly, begun with what is believed to be wanted; it goes with the block."""
    ahead = Ahead(workspace, target)
    if layers:
        ahead.begin(layers, after_seconds)
    try:
        yield ahead
    finally:
        await ahead.close()


@dataclass
class Guesses:
    """Which lock lists of requirements came to, the last ones, to guess what a similar list comes to."""

    most: int = 32
    _known: dict[frozenset[str], Lock] = field(default_factory=dict)

    def remember(self, requirements: Iterable[str], lock: Lock) -> None:
        """Keep what `requirements` came to."""
        key = frozenset(requirements)
        self._known.pop(key, None)
        self._known[key] = lock
        while len(self._known) > self.most:
            del self._known[next(iter(self._known))]

    def guess(self, requirements: Iterable[str]) -> Lock | None:
        """Return the lock of the most similar list, or None when none has half of its lines in common."""
        wanted = frozenset(requirements)
        best = max(self._known, key=lambda known: _similarity(known, wanted), default=None)
        if best is None or best == wanted or _similarity(best, wanted) < 0.5:
            return None
        return self._known[best]


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _above(path: str) -> list[str]:
    """Return every folder above `path`, the nearest first, without the root."""
    found = []
    while path := path.rpartition("/")[0]:
        found.append(path)
    return found
