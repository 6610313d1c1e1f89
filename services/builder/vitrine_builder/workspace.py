"""The builder's folders beside the environments, and temporary ones that never outlive their maker."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.spread import spread
from vitrine_common.drafts import own_drafts, remove_tree, sweep_drafts
from vitrine_common.ids import new_id
from vitrine_common.replicas.marks import make_mark
from vitrine_common.usage import UseTable, use_table

INSTALLERS = "installers"
ENTRANCE = "entrance"
"""In use by whoever is about to use the installers; closed by who waits for all others to be done."""


@dataclass(frozen=True)
class Workspace:
    """Where the builder keeps what it makes. All of it is on one file system, for renames and hard links.

    `root` holds finished environments by digest, and in `.builder` everything else. Several builders may
    share one root: each has a drafts folder of its own, marked by a lock that the kernel gives back when
    the process, and every child that inherited it, is gone.
    """

    root: Path
    drafts: Path
    lifeline: int

    @property
    def layers(self) -> Path:
        """Unpacked and compiled wheels, by layer digest."""
        return self.root / ".builder" / "layers"

    @property
    def images(self) -> Path:
        """What is known of images: diff ids of layers, configurations by digest."""
        return self.root / ".builder" / "images"

    @property
    def resolutions(self) -> Path:
        """Remembered locks."""
        return self.root / ".builder" / "resolutions"

    @property
    def installer(self) -> Path:
        """Home and cache of uv."""
        return self.root / ".builder" / "uv"

    @property
    def uses(self) -> UseTable:
        """What of all this is in use."""
        return use_table(self.root)

    @contextlib.asynccontextmanager
    async def installing(self) -> AsyncIterator[None]:
        """Keep what the installers have unpacked for themselves while the block lasts."""
        with self.uses.open() as uses:
            await uses.add(ENTRANCE)
            await uses.add(INSTALLERS)
            uses.drop(ENTRANCE)
            yield

    def write(self, place: Path, content: bytes) -> None:
        """Write a file at once; what is half written lies among the drafts.

        Raises:
            OSError: the disk is full.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = self.drafts / new_id("file")
        try:
            draft.write_bytes(content)
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the drafts of builders that are gone."""
        sweep_drafts(self.root)

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """Give an empty folder that is removed afterwards, unless it was renamed away."""
        folder = self.drafts / new_id("draft")
        folder.mkdir()
        try:
            yield folder
        finally:
            remove_tree(folder)

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """Give an empty folder; where all went well, nobody waits until it is removed afterwards."""
        folder = self.drafts / new_id("draft")
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            remove_tree(folder)
            raise
        asyncio.get_running_loop().run_in_executor(None, remove_tree, folder)

    def require_space(self, least: int) -> None:
        """Check that the file system has `least` bytes left.

        Raises:
            BuildFailure: it has fewer (`disk_full`).
        """
        free = shutil.disk_usage(self.root).free
        if free < least:
            sentence = (
                f"The builder's disk has {free >> 20} MiB left, and {least >> 20} MiB are kept free; "
                "try again later or tell the operator of the platform."
            )
            raise BuildFailure(FailureReason.DISK_FULL, sentence)


@contextlib.contextmanager
def open_workspace(root: Path) -> Iterator[Workspace]:
    """Make the folders below `root`, sweep what dead builders left behind, and give the workspace.

    Raises:
        OSError: the folders cannot be made or written.
    """
    with own_drafts(root, "builder") as (mine, lifeline):
        use_table(root).create()
        make_mark(root)
        spread(mine)
        workspace = Workspace(root, mine, lifeline)
        workspace.layers.mkdir(exist_ok=True)
        yield workspace
