"""Who is blamed when a model's process dies: a run that was alone with it, and nobody else."""

from __future__ import annotations

import array
import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sandboxes import MIB, perform
from vitrine_engine import CallError, Limits, OnnxModel, Reason, SandboxSpec, Tensor
from vitrine_engine.process.meter import descendants
from vitrine_engine.process.sandbox import MODEL, ProcessSandbox
from zygotes import ZygoteBench

LIMITS = Limits(memory_bytes=2048 * MIB, disk_bytes=32 * MIB, wall_seconds=60)
TENSORS = [{"name": "tensors", "type": "json", "required": True, "tensor": {"name": "*"}}]
VALUES = {"tensors": {"a": [[1.0]], "b": [[1.0]]}}


@pytest.fixture
async def adder(zygotes: ZygoteBench, onnx_environment: Path, onnx_models: Path) -> ProcessSandbox:
    """A model that serves two at a time, with an open stream of calls."""
    bundle = zygotes.bundle({})
    (bundle / "model.onnx").write_bytes((onnx_models / "sum.onnx").read_bytes())
    spec = SandboxSpec(id="adder", environment=onnx_environment, bundle=bundle, limits=LIMITS, max_runs=2)
    sandbox = await zygotes.engine.start(spec)
    await sandbox.load(OnnxModel(path="model.onnx", inputs=TENSORS, outputs=TENSORS))
    await call(sandbox)
    assert sandbox._streams == 1
    return sandbox


async def call(sandbox: ProcessSandbox) -> None:
    one = Tensor(dtype="float32", shape=(1, 1), data=array.array("f", [1]).tobytes())
    await sandbox.call({"a": one, "b": one})


def tell(sandbox: ProcessSandbox, number: int) -> None:
    """Send a signal to the model's process."""
    os.kill(descendants(sandbox._cells[MODEL].pids[0])[1], number)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_run_is_not_blamed_for_a_call_beside_it(adder: ProcessSandbox) -> None:
    tell(adder, signal.SIGSTOP)
    calling = asyncio.ensure_future(call(adder))
    await asyncio.sleep(0)  # the call has its stream
    running = asyncio.ensure_future(perform(adder, values=VALUES))
    await until(lambda: bool(adder._served))
    tell(adder, signal.SIGKILL)
    with pytest.raises(CallError):
        await calling
    ran = await running
    assert ran.outcome.reason is Reason.PLATFORM_ERROR, ran.outcome.message
    assert "several runs" in ran.outcome.message


async def test_a_run_beside_a_stream_without_calls_is_alone(adder: ProcessSandbox) -> None:
    tell(adder, signal.SIGSTOP)
    running = asyncio.ensure_future(perform(adder, values=VALUES))
    await until(lambda: bool(adder._served) and not adder._streams)
    tell(adder, signal.SIGKILL)
    ran = await running
    assert ran.outcome.reason is Reason.USER_ERROR, ran.outcome.message
