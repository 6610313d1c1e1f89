"""Environments for whoever does not see the builder's disk: layers are fetched by digest, and linked.

A layer is fetched once for all environments that need it and for all processes of this host. What is fetched
is verified before it is unpacked, and appears by one rename: completely or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_common.blobs import BlobNotFound, BlobStore, DigestMismatch
from vitrine_common.blobs.downloads import outlived
from vitrine_common.documents import Environment
from vitrine_common.drafts import has_living, link, own_drafts, publish
from vitrine_common.errors import Unavailable, VitrineError
from vitrine_common.ids import new_id
from vitrine_common.references import environments, is_made
from vitrine_common.replicas.eviction import ROOTS, Eviction
from vitrine_common.replicas.parts import MAX_REPLICA_BYTES, Archive, LayerPart, Replica, RootPart
from vitrine_common.replicas.unpacking import ArchiveDamaged, unpack
from vitrine_common.store import Database
from vitrine_common.usage import environment_use, layer_use, system_use, use_table

log = logging.getLogger(__name__)

ARCHIVES_AT_ONCE = 4
_WAIT_SECONDS = 0.05
_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 900.0
"""How long bytecode is waited for that the builder still compiles."""


@dataclass
class ReplicaFetcher:
    """Fetches environments into the folder `store`.

    Args:
        store: the environments' folder of this host.
        database: where builders write down what they packed.
        blobs: the area of the bucket that archives lie in.
        limit: bytes that the folder may take; a builder that works in it has a limit of its own.
    """

    store: Path
    database: Database
    blobs: BlobStore
    limit: int
    _following: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _eviction: Eviction = field(init=False)

    def __post_init__(self) -> None:
        self._eviction = Eviction(self.store, self.limit)

    def open(self) -> bool:
        """Make the folder ready, once, before anything in it is used; False where it cannot be written."""
        try:
            (self.store / ".builder" / "layers").mkdir(parents=True, exist_ok=True)
            use_table(self.store).create()
        except OSError as error:
            log.info("environments are read where a builder puts them", extra={"error": str(error)})
            return False
        return True

    async def resume(self) -> None:
        """Add bytecode, once it is packed, to what was fetched without before this process began."""
        for digest in await asyncio.to_thread(self._bare):
            self._follow(digest)

    async def aclose(self) -> None:
        """Stop what goes on in the background."""
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)
        await self.blobs.aclose()

    async def fetch(self, digest: str) -> bool:
        """Let the environment `digest` appear in the folder; False where a builder has to pack it first.

        Raises:
            Unavailable: what was packed is damaged, or cannot be written on this host; says which.
        """
        found = await self._replica(digest)
        if found is None:
            return False
        _name, replica = found
        try:
            with _told(digest):
                async with self._held(digest, replica) as drafts:
                    await self._fetch(digest, replica, drafts)
        except BlobNotFound:
            return False
        if replica.completion is None:
            self._follow(digest)
        return True

    async def _fetch(self, digest: str, replica: Replica, drafts: Path) -> None:
        await outlived(asyncio.to_thread(self._make_room, replica))
        turns = asyncio.Semaphore(ARCHIVES_AT_ONCE)
        work = [self._layer(part, drafts, turns) for part in replica.layers]
        if replica.root is not None:
            work.append(self._root(replica.root, drafts, turns))
        await _all(work)
        description = self._place(digest) / "environment.json"
        async with self._turn(description, f"assembling {description.parent.name}") as missing:
            if missing:
                await outlived(asyncio.to_thread(self._assemble, digest, replica, drafts))
        log.info("environment fetched", extra={"environment": digest, "layers": len(replica.layers)})

    async def _layer(self, part: LayerPart, drafts: Path, turns: asyncio.Semaphore) -> None:
        place = self.store / ".builder" / "layers" / part.name
        # Locks are called as the builder calls them: it may work in this folder, too.
        async with self._turn(place, f"making {part.name}") as missing:
            if missing:
                await self._unpacked(place, part.archive, drafts / new_id("layer"), turns)
        if part.bytecode is not None:
            place /= part.bytecode.name
            async with self._turn(place, f"compiling {part.name}") as missing:
                if missing:
                    await self._unpacked(place, part.bytecode.archive, drafts / new_id("bytecode"), turns)

    async def _root(self, part: RootPart, drafts: Path, turns: asyncio.Semaphore) -> None:
        place = self.store / ".builder" / ROOTS / part.name
        async with self._turn(place, f"fetching {part.name}") as missing:
            if missing:
                await self._unpacked(place, part.archive, drafts / new_id("root"), turns, below="rootfs")

    @contextlib.asynccontextmanager
    async def _turn(self, place: Path, name: str) -> AsyncIterator[bool]:
        """Give whether `place` has to be made, by nobody else in the block; who makes it is waited for."""
        while _is_missing(place):
            with use_table(self.store).claims() as claims:
                if claims.take(name):
                    yield _is_missing(place)
                    return
            await asyncio.sleep(_WAIT_SECONDS)
        yield False

    async def _unpacked(
        self, place: Path, archive: Archive, draft: Path, turns: asyncio.Semaphore, *, below: str = ""
    ) -> None:
        """Let what `archive` holds appear as the folder `place`."""
        async with turns:
            (draft / below).mkdir(parents=True)
            packed = draft.with_suffix(".tar.zst")
            await self.blobs.download_to(archive.digest, packed, archive.size)
            await outlived(asyncio.to_thread(unpack, packed, draft / below))
            packed.unlink()
            place.parent.mkdir(parents=True, exist_ok=True)
            publish(draft, place)

    def _assemble(self, digest: str, replica: Replica, drafts: Path) -> None:
        root = drafts / new_id("environment")
        root.mkdir()
        folders: set[str] = set()
        for part in replica.layers:
            tree = self.store / ".builder" / "layers" / part.name / "tree"
            _link_all(tree, root, frozenset(part.without), folders)
            self._link_bytecode(part, root, folders)
        for path, goal in replica.links.items():
            _folder_above(root, path, folders)
            (root / path).symlink_to(goal)
        texts = {**replica.files, "environment.json": replica.description}
        if replica.completion is not None:
            texts["bytecode.json"] = replica.completion
        for path, text in texts.items():
            (root / path).write_text(text)
        place = self._place(digest)
        if place.exists():
            # Left half by somebody: nothing uses it, and what is finished takes its place.
            place.rename(drafts / new_id("trash"))
        publish(root, place)

    def _link_bytecode(self, part: LayerPart, root: Path, folders: set[str]) -> None:
        if part.bytecode is not None:
            tree = self.store / ".builder" / "layers" / part.name / part.bytecode.name / "tree"
            _link_all(tree, root, frozenset(part.bytecode.without), folders)

    def _follow(self, digest: str) -> None:
        if digest not in self._following:
            task = asyncio.create_task(self._complete_later(digest), name="bytecode from afar")
            self._following[digest] = task

    async def _complete_later(self, digest: str) -> None:
        """Add the bytecode once the builder has packed it; the environment is right without, and slower."""
        seen = ""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    while self._is_bare(digest):
                        await asyncio.sleep(_LOOK_SECONDS)
                        try:
                            seen = await self.complete(digest, seen)
                        except (VitrineError, OSError) as error:
                            told = {"environment": digest, "error": str(error)}
                            log.warning("bytecode was not fetched", extra=told)
        finally:
            self._following.pop(digest, None)

    async def complete(self, digest: str, seen: str = "") -> str:
        """Add bytecode to an environment that is here, if it is packed; return what was looked at.

        Nothing happens where that is `seen` still, or where the environment was removed meanwhile.

        Raises as `fetch` does.
        """
        found = await self._replica(digest, seen)
        if found is None:
            return seen
        name, replica = found
        if replica.completion is not None:
            with _told(digest):
                async with self._held(digest, replica) as drafts:
                    # Asked only now that it is in use, and nobody removes it any more.
                    if is_made(self._place(digest)):
                        turns = asyncio.Semaphore(ARCHIVES_AT_ONCE)
                        await _all([self._layer(part, drafts, turns) for part in replica.layers])
                        await outlived(asyncio.to_thread(self._add_bytecode, digest, replica, drafts))
        return name

    def _is_bare(self, digest: str) -> bool:
        place = self._place(digest)
        return is_made(place) and not (place / "bytecode.json").exists()

    def _bare(self) -> list[str]:
        # A builder that works in this folder completes what is in it.
        made = () if has_living(self.store, "builder") else environments(self.store)
        return [each.digest for each in made if self._is_bare(each.digest)]

    def _add_bytecode(self, digest: str, replica: Replica, drafts: Path) -> None:
        for part in replica.layers:
            self._link_bytecode(part, self._place(digest), set())
        draft = drafts / new_id("completion")
        draft.write_text(replica.completion or "")
        draft.replace(self._place(digest) / "bytecode.json")

    async def _replica(self, digest: str, seen: str = "") -> tuple[str, Replica] | None:
        """Return the newest replica of an environment, after its name; None if there is none but `seen`."""
        while True:
            document = await self.database.collection(Environment).find_one({"_id": digest})
            name = None if document is None else document.replica_digest
            if name is None or name == seen:
                return None
            try:
                return name, Replica.model_validate_json(await self.blobs.get_bytes(name, MAX_REPLICA_BYTES))
            except BlobNotFound:
                # A newer one may have taken its place just now.
                seen = name

    @contextlib.asynccontextmanager
    async def _held(self, digest: str, replica: Replica) -> AsyncIterator[Path]:
        """Use the environment and its layers in the block, and give a folder for drafts."""
        with use_table(self.store).open() as uses:
            async with _drafts_in(self.store) as drafts:
                await uses.add(environment_use(digest), *(layer_use(part.name) for part in replica.layers))
                if replica.root is not None:
                    await uses.add(system_use(replica.root.name))
                yield drafts

    def _make_room(self, replica: Replica) -> None:
        """Remove what was not used for long where there would be too much, unless a builder does; blocks.

        Raises:
            OSError: the disk has too little room all the same.
        """
        missing = sum(archive.size + archive.unpacked for archive in self._missing(replica))
        if not has_living(self.store, "builder"):
            self._eviction.run(missing)
        if shutil.disk_usage(self.store).free < missing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _missing(self, replica: Replica) -> Iterable[Archive]:
        layers = self.store / ".builder" / "layers"
        for part in replica.layers:
            if not (layers / part.name).is_dir():
                yield part.archive
            if part.bytecode is not None and not (layers / part.name / part.bytecode.name).is_dir():
                yield part.bytecode.archive
        if replica.root is not None and not (layers.parent / ROOTS / replica.root.name).is_dir():
            yield replica.root.archive

    def _place(self, digest: str) -> Path:
        return self.store / digest.removeprefix("sha256:")


@contextlib.contextmanager
def _told(digest: str) -> Iterator[None]:
    """Say of what goes wrong in the block whose it is, and the way out."""
    try:
        yield
    except (ArchiveDamaged, DigestMismatch) as error:
        text = f"The environment {digest} came damaged out of the object store: {error}. Tell the operator."
        raise Unavailable(text) from error
    except OSError as error:
        said = error.strerror or str(error) or type(error).__name__
        full = "Its disk is too small; tell" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "Tell"
        text = f"The environment {digest} could not be put on this host: {said}. {full} the operator."
        raise Unavailable(text) from error


@contextlib.asynccontextmanager
async def _drafts_in(store: Path) -> AsyncIterator[Path]:
    """Give a folder for drafts; what blocks until it is there, and until it is gone, does so in threads."""
    entered = contextlib.ExitStack()
    try:
        drafts, _ = await outlived(asyncio.to_thread(entered.enter_context, own_drafts(store, "fetch")))
        yield drafts
    finally:
        await outlived(asyncio.to_thread(entered.close))


async def _all(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Do everything at a time; what goes wrong first ends the rest, and is raised once that has ended."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_missing(place: Path) -> bool:
    return not place.exists()


def _link_all(tree: Path, root: Path, without: frozenset[str], folders: set[str]) -> None:
    """Link every file below `tree` into `root`, but those of `without` and what is there already."""
    start = len(str(tree)) + 1
    for place, _folders, files in os.walk(tree):
        folder = place[start:]
        for name in files:
            path = f"{folder}/{name}" if folder else name
            if path not in without:
                _folder_above(root, path, folders)
                with contextlib.suppress(FileExistsError):
                    link(f"{place}/{name}", f"{root}/{path}")


def _folder_above(root: Path, path: str, folders: set[str]) -> None:
    """Make the folders above `path`, but never `root` itself: what was removed is not begun again."""
    missing = []
    while (path := path.rpartition("/")[0]) and path not in folders:
        missing.append(path)
    for folder in reversed(missing):
        (root / folder).mkdir(exist_ok=True)
        folders.add(folder)
