"""Runs that share a worker: the one that ends it is told so, and the others succeed."""

from __future__ import annotations

import asyncio

from runner_site import Site, value_of
from vitrine_common.states import Reason, RunState

# Whoever stays gives the killer time to come, and the killer waits until the others are there: all three are
# in the worker when it ends. Begun again, nobody comes, and the waits are over by themselves.
PREDICTOR = """
import os, threading, time

INSIDE = []

class Predictor:
    def predict(self, role: str) -> str:
        INSIDE.append(role)
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            if role == "kill" and INSIDE.count("stay") == 2:
                break
            time.sleep(0.01)
        if role == "kill":
            os._exit(7)
        return role
"""
SPEC = {
    "predictor": "predict.py:Predictor",
    "inputs": {"role": {"type": "text"}},
    "outputs": {"output": {"type": "text"}},
    "scaling": {"concurrency": 3, "max": 1},
    "resources": {"memory": "256Mi"},
}


async def test_the_run_that_ends_its_worker_fails_and_its_neighbours_succeed(site: Site) -> None:
    await site.start(slots=3, retry_seconds=0.05)
    digest = await site.push(SPEC, {"predict.py": PREDICTOR})
    asked = [await site.ask(digest, {"role": role}) for role in ("stay", "kill", "stay")]
    first, killer, second = await asyncio.gather(*map(site.ended, asked))
    assert (killer.state, killer.reason) == (RunState.FAILED, Reason.USER_ERROR), killer
    assert "ended its process with status 7 while it served the run" in killer.message
    for run in (first, second):
        assert run.state is RunState.SUCCEEDED, run
        assert value_of(run) == "stay"
        assert run.attempt <= 2
