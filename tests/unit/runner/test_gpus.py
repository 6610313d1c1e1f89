"""Which worker has which GPU, and what is free."""

from __future__ import annotations

import asyncio

import pytest

from nvml import GIB, Nvml
from runner_doubles import EngineDouble
from vitrine_runner.errors import RunFault
from vitrine_runner.gpus import Device, Gpus, find_gpus
from vitrine_runner.workers import Need

from .conftest import ENVIRONMENT, MakePool, Push


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    return Nvml().install(monkeypatch)


def test_whole_gpus_belong_to_one_worker_and_the_emptiest_are_given_first(nvml: Nvml) -> None:
    gpus = find_gpus(wanted=True, certain=False)
    nvml.used = {0: GIB, 1: 40 * GIB}
    first, second = gpus.grant(2, 0), gpus.grant(1, 0)
    assert first is not None
    assert second is not None
    assert [device.index for device in (*first.devices, *second.devices)] == [2, 3, 0]
    assert gpus.grant(1, 0) is None, "somebody else uses half of the last one"
    gpus.give_back(first)
    gpus.give_back(first)
    assert [state.users for state in gpus.states()] == [1, 0, 0, 0]
    assert first.environment["CUDA_VISIBLE_DEVICES"] == "GPU-00000002-aaaa,GPU-00000003-aaaa"


def test_workers_that_say_how_much_they_need_share_a_gpu(nvml: Nvml) -> None:
    nvml.count = 1
    gpus = find_gpus(wanted=True, certain=False)
    assert gpus.grant(1, 30 * GIB)
    nvml.used = {0: 10 * GIB}
    assert gpus.grant(1, 60 * GIB) is None, "30 GiB of 80 are promised, whether they are in use yet or not"
    assert gpus.grant(1, 50 * GIB)
    nvml.used = {0: 75 * GIB}
    assert gpus.grant(1, 0) is None
    assert gpus.states()[0].users == 2
    assert gpus.states()[0].free_bytes == 5 * GIB


def test_what_is_not_here_at_all(nvml: Nvml) -> None:
    gpus = find_gpus(wanted=True, certain=False)
    assert gpus.suffice(4, 80 * GIB)
    assert not gpus.suffice(5, 0)
    assert not gpus.suffice(1, 81 * GIB)
    nvml.silent = True
    assert gpus.grant(1, 0) is None, "one that does not answer is given to nobody"


def test_where_nvml_is_missing_the_operators_word_counts(nvml: Nvml) -> None:
    nvml.silent = True
    assert not find_gpus(wanted=True, certain=False).devices
    certain = find_gpus(wanted=True, certain=True)
    grant = certain.grant(1, 10 * GIB)
    assert grant is not None
    assert grant.environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert certain.grant(1, 10 * GIB) is None, "nobody knows how much is left of it"
    assert not find_gpus(wanted=False, certain=False).devices


async def test_workers_hold_gpus_until_they_stop_and_idle_ones_make_way(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool = make_pool()
    pool.gpus = Gpus((Device(0, "GPU-x"),))
    spec = {"resources": {"gpu": 1}}
    one, other = await push(spec), await push(spec, {"main.py": b"print(2)"})
    async with pool.lent(Need(one, ENVIRONMENT, "usr_1")):
        assert engine.sandboxes[0].spec.env["CUDA_VISIBLE_DEVICES"] == "GPU-x"
        waiting = asyncio.create_task(_use(pool.lent(Need(other, ENVIRONMENT, "usr_1"))))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done(), "the only GPU is used"
        assert pool.gpus.states()[0].users == 1
    await waiting
    assert [sandbox.alive for sandbox in engine.sandboxes] == [False, True]


async def test_a_model_that_needs_more_gpus_than_there_are_is_refused_by_name(
    make_pool: MakePool, push: Push
) -> None:
    pool = make_pool()
    with pytest.raises(RunFault, match="GPU"):
        await _use(pool.lent(Need(await push({"resources": {"gpu": 1}}), ENVIRONMENT, "usr_1")))


async def _use(lent: object) -> None:
    async with lent:  # type: ignore[attr-defined]
        pass
