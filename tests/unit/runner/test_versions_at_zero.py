"""A runner at rest does not know how many versions it has served: what is in memory is bounded."""

from __future__ import annotations

import gc

from vitrine_runner import caching
from vitrine_runner.bundles import Bundle
from vitrine_runner.worker import Worker

from .conftest import MakePool, Push
from .test_expecting import Desk, fetched

FEW, MANY = 20, caching.DESCRIBED + 60


def objects_of(kind: type) -> int:
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


async def test_versions_that_nobody_asks_are_not_in_memory(make_pool: MakePool, push: Push) -> None:
    before = {kind: objects_of(kind) for kind in (Bundle, Worker)}
    pool = make_pool()
    desk = Desk(pool)
    versions = [await push(files={"main.py": f"print({number})".encode()}) for number in range(MANY)]
    for digest in versions[:FEW]:
        await fetched(pool, digest)
    assert objects_of(Bundle) - before[Bundle] >= FEW
    for digest in versions[FEW:]:
        await fetched(pool, digest)
    for digest in versions[:FEW]:
        await desk.told(digest)
    await pool.aclose()
    assert pool._bundles.has(versions[0])
    assert objects_of(Bundle) - before[Bundle] <= caching.DESCRIBED + 1
    assert objects_of(Worker) - before[Worker] <= 1
    assert not desk.expecting._tasks
