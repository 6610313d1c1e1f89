"""What every engine promises about processes that a predictor's run leaves: the next run finds none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sandboxes import MIB, Bench, Ran, perform
from vitrine_engine import Batching, Limits, PredictorModel, Reason, RunRequest, Sandbox

LIMITS = Limits(memory_bytes=256 * MIB, processes=40, disk_bytes=32 * MIB, wall_seconds=60.0)
OUTPUT = {"name": "output", "type": "text", "required": True}
LEFT = {
    "a Popen that was dropped": "subprocess.Popen(['sleep', '600'])",
    "the background of a shell": "subprocess.run(['sh', '-c', 'sleep 600 & setsid sleep 600 &'], check=True)",
    "a daemon that forked twice": (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.execvp('sleep', ['sleep', '600'])\n"
        "    os._exit(0)\n"
        "os.wait()"
    ),
}
COUNT = """
import os, subprocess, time
def sleepers():
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found += open(f"/proc/{name}/comm").read() == "sleep\\n"
            except OSError:
                pass
    return found
"""


def code(body: str, setup: str = "pass", head: str = "def predict(self) -> str") -> str:
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"{COUNT}\nclass Predictor:\n    def setup(self):\n        {setup}\n    {head}:\n"
        f"        seen = sleepers()\n{lines}\n        return str(seen)\n"
    )


async def served(bench: Bench, source: str, runs: int = 1, batching: Batching | None = None) -> Sandbox:
    bundle = bench.bundle({"predict.py": source})
    sandbox = await bench.start(bundle=bundle, limits=LIMITS, max_runs=runs)
    model = PredictorModel(target="predict.py:Predictor", outputs=(OUTPUT,), batching=batching)
    await sandbox.load(model)
    return sandbox


def seen(ran: Ran) -> Any:
    assert ran.outcome.reason is None, ran.outcome
    return ran.values["output"]


@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("runs", [1, 2])
async def test_the_next_run_finds_no_process_of_the_one_before(bench: Bench, kind: str, runs: int) -> None:
    sandbox = await served(bench, code(LEFT[kind]), runs)
    assert [seen(await perform(sandbox)) for _ in range(3)] == ["0"] * 3


async def test_so_it_is_with_tasks_and_batches(bench: Bench) -> None:
    body = LEFT["the background of a shell"]
    tasks = await served(bench, code(body, head="async def predict(self) -> str"), 2)
    assert [seen(await perform(tasks)) for _ in range(3)] == ["0"] * 3
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    batched = (
        f"{COUNT}\nclass Predictor:\n    def predict(self, text: list[str]) -> list[str]:\n"
        f"        found = str(sleepers())\n{lines}\n        return [found] * len(text)\n"
    )
    batches = await served(bench, batched, 2, Batching(size=2, wait_seconds=0.01))
    assert [seen(await perform(batches, values={"text": "x"})) for _ in range(3)] == ["0"] * 3


async def test_however_many_runs_leave_some_the_limit_is_not_used_up(bench: Bench) -> None:
    body = "\n".join([LEFT["a Popen that was dropped"], *[LEFT["the background of a shell"]] * 2])
    sandbox = await served(bench, code(body))
    assert {seen(await perform(sandbox)) for _ in range(25)} == {"0"}


async def test_what_setup_started_and_what_is_still_held_goes_on(bench: Bench) -> None:
    setup = "subprocess.run(['sh', '-c', 'sleep 600 &'], check=True); self.held = None"
    body = "self.held = self.held or subprocess.Popen(['sleep', '600'])\nassert self.held.poll() is None"
    sandbox = await served(bench, code(body, setup))
    assert [seen(await perform(sandbox)) for _ in range(3)] == ["1", "2", "2"]


STARTED = {
    "a Popen that was dropped": "subprocess.Popen(['sleep', '600'])",
    "one that is collected later": "ring = [subprocess.Popen(['sleep', '600'])]; ring.append(ring)",
    "one that a run lets go": "self.held = subprocess.Popen(['sleep', '600'])",
    "the child of one that ends": "self.held = subprocess.Popen(['sh', '-c', 'sleep 600& read x'], stdin=-1)",
}


@pytest.mark.parametrize("kind", STARTED)
async def test_nobody_has_to_hold_what_setup_started(bench: Bench, kind: str) -> None:
    body = (
        "import gc\n"
        "if held := self.__dict__.pop('held', None):\n"
        "    if held.stdin: held.stdin.close(); held.wait()\n"
        "del held\n"
        "gc.collect()"
    )
    sandbox = await served(bench, code(body, STARTED[kind]))
    assert [seen(await perform(sandbox)) for _ in range(3)] == ["1"] * 3


async def test_a_run_that_failed_leaves_none_either(bench: Bench) -> None:
    body = f"{LEFT['the background of a shell']}\nif not seen: raise ValueError('no')"
    sandbox = await served(bench, code(body))
    for _ in range(3):
        ran = await perform(sandbox)
        assert ran.outcome.reason is Reason.USER_ERROR, (
            "a sleeper of the run before would have made it end well"
        )


async def test_a_cancelled_run_leaves_none_either(bench: Bench) -> None:
    body = f"{LEFT['the background of a shell']}\nprint('begun', flush=True)\nif wait: time.sleep(60)"
    sandbox = await served(bench, code(body, head="def predict(self, wait: bool) -> str"))
    async with asyncio.timeout(60):
        async for event in sandbox.run(RunRequest(id="first", values={"wait": True})):
            if getattr(event, "stream", None) == "stdout":
                await sandbox.cancel("first")
    assert seen(await perform(sandbox, values={"wait": False})) == "0"


async def test_a_run_beside_keeps_its_processes(bench: Bench) -> None:
    body = (
        "if slow:\n"
        "    subprocess.run(['sh', '-c', 'sleep 600 &'], check=True)\n"
        "    print('begun', flush=True)\n"
        "    while not os.path.exists('/tmp/other'): time.sleep(0.01)\n"
        "    seen = sleepers()\n"
        "else:\n"
        "    open('/tmp/other', 'w').close()"
    )
    sandbox = await served(bench, code(body, head="def predict(self, slow: bool) -> str"), 2)
    values: list[Any] = []
    async for event in sandbox.run(RunRequest(id="slow", values={"slow": True})):
        if getattr(event, "stream", None) == "stdout":
            await perform(sandbox, values={"slow": False})
        values.append(getattr(event, "value", None))
    assert "1" in values
    assert seen(await perform(sandbox, values={"slow": False})) == "0"
