"""The store's limit while it is used: builds, runs and collections at once, collections that are killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path

import pytest

from builder_stores import collecting, left_behind, make_catalogue, open_store, removals
from vitrine_builder import collection
from vitrine_builder.collection import Collector, size_file
from vitrine_common.measuring import weigh
from vitrine_common.references import layers_of
from vitrine_common.replicas.eviction import ROOTS
from vitrine_common.shelf import EnvironmentGone, Shelf
from vitrine_common.usage import environment_use, system_use

pytestmark = pytest.mark.timeout(180)

BUILDS = 30
AT_ONCE = 3


async def test_builds_and_runs_lose_nothing_to_a_collection_that_never_stops(tmp_path: Path) -> None:
    catalogue = make_catalogue(tmp_path, 14)
    root, enough = tmp_path / "environments", tmp_path / "enough"
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"drawn with seed {seed}")
    chance = random.Random(seed)
    shelf = Shelf(root)
    again: list[str] = []

    async with open_store(root, catalogue.index) as store:

        async def keep_busy(rounds: int) -> None:
            for _ in range(rounds):
                chosen = chance.sample(catalogue.names, chance.randint(2, 7))
                while True:
                    lock, made = await store.make(catalogue.text(chosen))
                    try:
                        async with shelf.held(made.digest) as environment:
                            assert catalogue.missing(environment, chosen) == []
                            # As long as it is held it stays, however often somebody collects.
                            await asyncio.sleep(0.03)
                            assert catalogue.missing(environment, chosen) == []
                            break
                    except EnvironmentGone:
                        # Removed between build and run: here nobody makes it again but this loop.
                        again.append(made.digest)
                assert [package.name for package in lock.packages] == sorted(chosen)

        with collecting(root, enough) as collector:
            await asyncio.gather(*(keep_busy(BUILDS // AT_ONCE) for _ in range(AT_ONCE)))
            enough.touch()
            removed = await removals(collector)
        print(
            f"{BUILDS} builds, {removed} environments and layers removed, {len(again)} gone before their run"
        )
        assert removed > BUILDS, "the collection did not race"
        assert [each for each in left_behind(root) if "/drafts/" not in each] == []
    assert left_behind(root) == []


async def test_what_was_not_used_for_longest_goes_first_and_what_is_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = make_catalogue(tmp_path, 6, modules=4, size=40_000)
    async with open_store(tmp_path / "environments", catalogue.index) as store:
        made = []
        for number in range(4):
            chosen = [catalogue.names[0], catalogue.names[number + 1]]
            made.append((await store.make(catalogue.text(chosen)))[1])
            os.utime(made[-1].path / "environment.json", (time.time() - 10_000 + number,) * 2)
        collector = Collector(store.workspace, 1 << 40)
        assert collector.collect().freed == 0
        before = collector.measure()
        assert (before.environment_count, before.layer_count) == (4, 5)
        told = json.loads(size_file(store.workspace.root).read_text())
        assert (told["total"], told["limit"]) == (before.total, 1 << 40)

        with store.workspace.uses.open() as uses:
            await uses.add(environment_use(made[0].digest))
            monkeypatch.setattr(collection, "ROOM", 1.0)
            collector.limit = before.total - 1
            assert collector.collect().environments == [], "the installer's own copies go first"
            (only,) = layers_of(made[1].path)[0] - layers_of(made[2].path)[0]
            collector.limit = collector.measure().total - weigh(made[1].path, links=False) - 1
            collected = collector.collect()
            assert collected.environments == [made[1].digest], "not the oldest that nobody uses"
            assert collected.layers == [only]
            assert made[0].path.is_dir()
            assert catalogue.missing(made[0].path, catalogue.names[:2]) == []
            assert catalogue.missing(made[2].path, [catalogue.names[0], catalogue.names[3]]) == []

            collector.limit = 1
            collected = collector.collect()
            assert set(collected.environments) == {made[2].digest, made[3].digest}
            assert catalogue.missing(made[0].path, catalogue.names[:2]) == []
            used = layers_of(made[0].path)[0]
            assert {place.name for place in store.workspace.layers.iterdir()} == used
            assert made[0].path.stat().st_mtime < time.time()
            mark = (made[0].path / "environment.json").stat().st_mtime
            assert mark > time.time() - 1000, "its use was not written down"

        again = (await store.make(catalogue.text([catalogue.names[0], catalogue.names[2]])))[1]
        assert (again.digest, again.made) == (made[1].digest, True)


async def test_fetched_root_file_systems_are_weighed_and_go_when_nobody_uses_them(tmp_path: Path) -> None:
    catalogue = make_catalogue(tmp_path, 1)
    async with open_store(tmp_path / "environments", catalogue.index) as store:
        collector = Collector(store.workspace, 1 << 40)
        before = collector.measure()
        used, spare = (store.workspace.root / ".builder" / ROOTS / (digit * 64) for digit in "12")
        for place in (used, spare):
            (place / "rootfs").mkdir(parents=True)
            (place / "rootfs/file").write_bytes(bytes(100_000))
        size = collector.measure()
        assert size.system - before.system >= 200_000
        assert size.other == before.other
        collector.limit = 1
        with store.workspace.uses.open() as uses:
            await uses.add(system_use(used.name))
            collector.collect()
            assert used.is_dir()
            assert not spare.exists()
        collector.collect()
        assert not used.exists()


def trash(root: Path) -> list[Path]:
    return list(root.glob(".builder/drafts/builder_*/trash_*"))


async def test_a_collection_that_is_killed_leaves_a_store_that_works(tmp_path: Path) -> None:
    catalogue = make_catalogue(tmp_path, 8, modules=20)
    root = tmp_path / "environments"
    chance = random.Random(4)
    half = 0
    for attempt in range(6):
        async with open_store(root, catalogue.index) as store:
            assert [each for each in left_behind(root) if "/trash" in each] == []
            for _ in range(4):
                chosen = chance.sample(catalogue.names, 4)
                made = (await store.make(catalogue.text(chosen)))[1]
                assert catalogue.missing(made.path, chosen) == []
        with collecting(root, tmp_path / f"enough{attempt}") as collector:
            # Half of them while something is being removed, the others at any time.
            deadline = time.monotonic() + (2 if attempt % 2 else 0.005 * attempt)
            while time.monotonic() < deadline and not (attempt % 2 and trash(root)):
                await asyncio.sleep(0)
            collector.kill()
            half += bool(trash(root))
        for path in root.iterdir():
            if path.name != ".builder":
                names = [
                    package["name"]
                    for package in json.loads((path / "environment.json").read_text())["packages"]
                ]
                assert catalogue.missing(path, names) == []
    print(f"{half} of 6 collections were killed while something lay half removed")
    assert half
    async with open_store(root, catalogue.index):
        assert left_behind(root) == []
