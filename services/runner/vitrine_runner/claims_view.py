"""What a claim's command sees of its dataset: files of the store, and those of whoever checks it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_common.blobs import BlobNotFound, BlobStore
from vitrine_common.documents import CheckDataset, ClaimCheckRequest, OwnInput
from vitrine_common.spec import Claim
from vitrine_common.states import Reason
from vitrine_engine import Bind, InputFile
from vitrine_runner.bundles import Datasets
from vitrine_runner.errors import RunFault

DATA = "/data"
"""Directory of a sandbox below which pushed datasets lie, each in a directory of its name."""
OWN_FILE = "own.json"
"""Says beside the files that were added which there are, and their labels."""


@dataclass(frozen=True)
class DataView:
    """What a repeat is given: binds of the sandbox, files of the run, and where the dataset is."""

    binds: tuple[Bind, ...] = ()
    files: tuple[InputFile, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Viewer:
    """Makes views.

    Args:
        datasets: pushed ones, on this host.
        blobs: where added files are.
    """

    datasets: Datasets
    blobs: BlobStore

    @asynccontextmanager
    async def shown(self, claim: Claim, request: ClaimCheckRequest, folder: Path) -> AsyncIterator[DataView]:
        """Give the view of one check while the block lasts; `folder` is the check's own, made here.

        Raises RunFault: the dataset or an added file is not in the store.
        """
        async with AsyncExitStack() as holds:
            await asyncio.to_thread(_make, folder)
            own = [await self._fetched(item, folder, index) for index, item in enumerate(request.own_inputs)]
            if request.dataset is None:
                yield _in_bundle(claim, request.own_inputs, own)
                return
            dataset = await holds.enter_async_context(self.datasets.held(request.dataset.digest))
            directory = dataset.directory
            if own:
                directory = folder / "view"
                await asyncio.to_thread(
                    _overlay, dataset.directory, directory, _place(claim), request.own_inputs, own
                )
            yield await asyncio.to_thread(_pushed, request.dataset, directory, folder)

    async def _fetched(self, item: OwnInput, folder: Path, index: int) -> Path:
        path = folder / f"own-{index}"
        try:
            await self.blobs.download_to(item.digest, path)
        except BlobNotFound as error:
            message = "A file that was added to the dataset is no longer in the store; add it again."
            raise RunFault(Reason.INPUT_INVALID, message) from error
        return path


def environment(name: str, place: str) -> dict[str, str]:
    """Return the variables that say where the dataset `name` lies."""
    variable = "".join(c if c.isascii() and c.isalnum() else "_" for c in name).upper()
    return {"VITRINE_DATA_DIR": place, f"VITRINE_DATASET_{variable}": place}


def _make(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)


def _place(claim: Claim) -> str:
    return claim.extend.path if claim.extend else "."


def _pushed(dataset: CheckDataset, directory: Path, folder: Path) -> DataView:
    """Show `directory` at `/data/<name>`; the directory around it is made here, for everybody to read."""
    outline = folder / "data"
    (outline / dataset.name).mkdir(parents=True)
    for made in (outline, outline / dataset.name):
        made.chmod(0o755)
    place = f"{DATA}/{dataset.name}"
    binds = (Bind(source=outline, target=DATA), Bind(source=directory, target=place))
    return DataView(binds=binds, env=environment(dataset.name, place))


def _in_bundle(claim: Claim, items: Sequence[OwnInput], own: Sequence[Path]) -> DataView:
    """Leave the dataset where it is in the bundle, and put added files into the run's private copy."""
    path = claim.bundle_path
    if path is None:
        return DataView()
    below = os.path.normpath(os.path.join(path, _place(claim)))  # noqa: PTH118 - a path of the sandbox
    files = [
        InputFile(name=f"own_{index}", source=source, destination=f"{below}/{item.name}")
        for index, (item, source) in enumerate(zip(items, own, strict=True))
    ]
    if own:
        files.append(InputFile(name="own", source=_labels(items), destination=f"{below}/{OWN_FILE}"))
    place = os.path.normpath(f"/work/{path}")
    return DataView(files=tuple(files), env={"VITRINE_DATA_DIR": place})


def _overlay(source: Path, target: Path, place: str, items: Sequence[OwnInput], own: Sequence[Path]) -> None:
    """Make a directory like `source` with the added files in it; unchanged files are links to the store's.

    The sandbox sees it on a read-only mount, so that nothing can be written through the links.
    """
    shutil.copytree(source, target, copy_function=os.link)
    below = target / place
    below.mkdir(parents=True, exist_ok=True)
    for item, path in zip(items, own, strict=True):
        (below / item.name).unlink(missing_ok=True)
        path.rename(below / item.name)
        (below / item.name).chmod(0o644)
    (below / OWN_FILE).unlink(missing_ok=True)
    (below / OWN_FILE).write_bytes(_labels(items))
    for directory in (target, *(path for path in target.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    (below / OWN_FILE).chmod(0o644)


def _labels(items: Sequence[OwnInput]) -> bytes:
    return json.dumps({item.name: item.label for item in items}, ensure_ascii=False).encode()
