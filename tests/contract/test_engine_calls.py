"""What every engine promises about calls with tensors: exact answers, in order, limits held, runs between."""

from __future__ import annotations

import array
import asyncio
import contextlib
from pathlib import Path

import pytest

from sandboxes import Bench, perform
from vitrine_engine import CallError, Limits, OnnxModel, Reason, Sandbox, SandboxGoneError, Tensor

MIB = 1 << 20
SUM_INPUTS = [
    {"name": "tensors", "type": "json", "required": True, "tensor": {"name": "*"}},
]
SUM_OUTPUTS = [{"name": "tensors", "type": "json", "tensor": {"name": "*"}}]


def floats(*values: float) -> Tensor:
    return Tensor(dtype="float32", shape=(1, len(values)), data=array.array("f", values).tobytes())


def values_of(tensor: Tensor) -> list[float]:
    return array.array("f", tensor.data).tolist()


async def adder(bench: Bench, environment: Path, models: Path) -> Sandbox:
    sandbox, _ = await bench.onnx(environment, models / "sum.onnx", SUM_INPUTS, SUM_OUTPUTS)
    return sandbox


async def test_calls_answer_with_tensors(bench: Bench, onnx_environment: Path, onnx_models: Path) -> None:
    sandbox = await adder(bench, onnx_environment, onnx_models)
    answer = await sandbox.call({"a": floats(1, 2), "b": floats(10, 20)})
    assert list(answer.tensors) == ["sum"]
    assert answer.tensors["sum"].shape == (1, 2)
    assert values_of(answer.tensors["sum"]) == [11, 22]
    assert 0 <= answer.seconds < 60


async def test_each_call_gets_its_own_answer(bench: Bench, onnx_environment: Path, onnx_models: Path) -> None:
    sandbox = await adder(bench, onnx_environment, onnx_models)
    sizes = [1, 7, 300_000, 2, 600_000, 3]  # some larger than a frame
    calls = [sandbox.call({"a": floats(*[n] * n), "b": floats(*[0.5] * n)}, ["sum"]) for n in sizes]
    for number, answer in zip(sizes, await asyncio.gather(*calls), strict=True):
        assert answer.tensors["sum"].shape == (1, number)
        assert set(values_of(answer.tensors["sum"])) == {number + 0.5}


async def test_a_call_that_does_not_fit_is_refused_and_the_next_one_answered(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    sandbox = await adder(bench, onnx_environment, onnx_models)
    whole = Tensor(dtype="int64", shape=(1, 1), data=bytes(8))
    refused = {
        "there is no input `c`": ({"a": floats(1), "b": floats(1), "c": floats(1)}, []),
        "input `b` is missing": ({"a": floats(1)}, []),
        "there is no output `product`": ({"a": floats(1), "b": floats(1)}, ["product"]),
        "has the type int64": ({"a": whole, "b": floats(1)}, []),
        "has the shape": ({"a": Tensor(dtype="float32", shape=(), data=bytes(4)), "b": floats(1)}, []),
        "cannot reshape": ({"a": Tensor(dtype="float32", shape=(1, 3), data=bytes(4)), "b": floats(1)}, []),
    }
    for words, (tensors, outputs) in refused.items():
        with pytest.raises(CallError, match=words) as raised:
            await sandbox.call(tensors, outputs)
        assert raised.value.reason is Reason.INPUT_INVALID
    with pytest.raises(CallError) as failed:  # the graph itself refuses it
        await sandbox.call({"a": floats(1, 2, 3), "b": floats(1, 2)})
    assert failed.value.reason is Reason.USER_ERROR
    assert values_of((await sandbox.call({"a": floats(1), "b": floats(2)})).tensors["sum"]) == [3]


async def wide_adder(bench: Bench, environment: Path, models: Path) -> Sandbox:
    """An adder that serves two at a time."""
    bundle = bench.bundle({"model.onnx": (models / "sum.onnx").read_bytes()})
    limits = Limits(memory_bytes=1024 * MIB, disk_bytes=32 * MIB, wall_seconds=60, cpus=2)
    sandbox = await bench.start(bundle=bundle, environment=environment, limits=limits, max_runs=2)
    await sandbox.load(OnnxModel(path="model.onnx", inputs=SUM_INPUTS, outputs=SUM_OUTPUTS))
    return sandbox


async def test_calls_at_once_do_not_wait_for_each_other(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    sandbox = await wide_adder(bench, onnx_environment, onnx_models)
    count, ended = 3_000_000, list[str]()
    many = Tensor(dtype="float32", shape=(1, count), data=array.array("f", [1.5]).tobytes() * count)

    async def call(name: str, tensor: Tensor) -> Tensor:
        answer = await sandbox.call({"a": tensor, "b": tensor})
        ended.append(name)
        return answer.tensors["sum"]

    await asyncio.gather(call("first", floats(1)), call("second", floats(1)))  # both streams are open
    ended.clear()
    large, small = await asyncio.gather(call("large", many), call("small", floats(2)))
    assert ended == ["small", "large"]
    assert values_of(small) == [4]
    assert large.data == array.array("f", [3.0]).tobytes() * count


async def test_runs_and_calls_share_the_places(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    sandbox = await wide_adder(bench, onnx_environment, onnx_models)

    async def run(number: float) -> float:
        ran = await perform(sandbox, values={"tensors": {"a": [[number]], "b": [[1.0]]}})
        assert ran.outcome.reason is None, ran.outcome.message
        return float(ran.values["tensors"]["sum"][0][0])

    async def call(number: float) -> float:
        answer = await sandbox.call({"a": floats(number), "b": floats(2)})
        return values_of(answer.tensors["sum"])[0]

    found = await asyncio.gather(*(work(number) for number in range(8) for work in (run, call, call)))
    assert found == [number + more for number in range(8) for more in (1, 2, 2)]


async def test_runs_and_calls_take_turns(bench: Bench, onnx_environment: Path, onnx_models: Path) -> None:
    sandbox = await adder(bench, onnx_environment, onnx_models)

    async def run(number: float) -> float:
        ran = await perform(sandbox, values={"tensors": {"a": [[number]], "b": [[1.0]]}})
        assert ran.outcome.reason is None, ran.outcome.message
        return float(ran.values["tensors"]["sum"][0][0])

    async def call(number: float) -> float:
        answer = await sandbox.call({"a": floats(number), "b": floats(2)})
        return values_of(answer.tensors["sum"])[0]

    found = await asyncio.gather(*(work(number) for number in range(6) for work in (run, call)))
    assert found == [number + more for number in range(6) for more in (1, 2)]


async def test_a_call_over_the_memory_limit_ends_with_its_reason(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    sandbox, _ = await bench.onnx(onnx_environment, onnx_models / "expand.onnx", SUM_INPUTS, SUM_OUTPUTS)
    many = Tensor(dtype="int64", shape=(1,), data=array.array("q", [1 << 31]).tobytes())
    with pytest.raises(CallError) as raised:
        await sandbox.call({"shape": many})
    assert raised.value.reason in {Reason.OUT_OF_MEMORY, Reason.USER_ERROR}  # killed, or refused by malloc


async def test_a_call_that_takes_too_long_ends_the_sandbox(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    bundle = bench.bundle({"model.onnx": (onnx_models / "expand.onnx").read_bytes()})
    limits = Limits(memory_bytes=2048 * MIB, disk_bytes=32 * MIB, wall_seconds=60)
    sandbox = await bench.start(bundle=bundle, environment=onnx_environment, limits=limits)
    await sandbox.load(OnnxModel(path="model.onnx", inputs=SUM_INPUTS, outputs=SUM_OUTPUTS))
    object.__setattr__(limits, "wall_seconds", 0.001)
    many = Tensor(dtype="int64", shape=(1,), data=array.array("q", [1 << 28]).tobytes())
    with pytest.raises(CallError) as raised:
        await sandbox.call({"shape": many})
    assert raised.value.reason is Reason.TIMEOUT
    await sandbox.wait_exited()
    with pytest.raises(SandboxGoneError):
        await sandbox.call({"shape": many})


async def test_calls_end_with_the_sandbox(bench: Bench, onnx_environment: Path, onnx_models: Path) -> None:
    sandbox = await adder(bench, onnx_environment, onnx_models)
    await sandbox.call({"a": floats(1), "b": floats(1)})
    await bench.strike(sandbox)
    with pytest.raises((CallError, SandboxGoneError)) as raised:
        while True:
            await sandbox.call({"a": floats(1), "b": floats(1)})
    if isinstance(raised.value, CallError):
        assert raised.value.reason is Reason.PLATFORM_ERROR
    await sandbox.wait_exited()


async def test_a_stop_cancels_calls(bench: Bench, onnx_environment: Path, onnx_models: Path) -> None:
    sandbox = await adder(bench, onnx_environment, onnx_models)
    await sandbox.call({"a": floats(1), "b": floats(1)})
    await sandbox.stop()
    with contextlib.suppress(SandboxGoneError):
        pytest.fail(str(await sandbox.call({"a": floats(1), "b": floats(1)})))


async def test_a_script_takes_no_calls(bench: Bench) -> None:
    sandbox = await bench.script()
    with pytest.raises(ValueError, match="no model that takes tensors"):
        await sandbox.call({"a": floats(1)})
