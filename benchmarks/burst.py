"""Many versions scaled to zero that are asked at once, and what registered versions cost that nobody asks.

usage: burst.py [--model NAME] [--versions N] [--registered N] [--json]

Starts an embedded stack with the shipped defaults, pushes N different versions of one environment, lets each
run once, waits until the process table shows no worker of any, and asks all of them at the same moment over
HTTP. `added` is a request's time less the model's own inference, timed alone. Memory is what the machine
had available less what it had at the worst moment. Then N versions are registered, by writing to the
stopped database's file what the api writes, and the runner is measured before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import psutil

from cold_start import PACKAGES, Subject, bundle_of
from footprint import cost
from lists import documents, fill
from stack_site import Site, author_interpreter, machine, site, spread
from vitrine_common.clock import utcnow
from vitrine_common.documents import User

GOALS = {"added_p95_ms": 2000.0, "runner_growth_mb": 0.0}
SAMPLE_SECONDS = 0.05
SETTLE_SECONDS = 15.0


class Memory:
    """What the machine has available, sampled in a thread, for a `with` block; megabytes."""

    def __init__(self) -> None:
        self.before_mb = self._available()
        self.least_mb = self.before_mb
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.least_mb = min(self.least_mb, self._available())

    @staticmethod
    def _available() -> float:
        return psutil.virtual_memory().available / 1e6


def burst(subject: Subject, stack: Site, count: int) -> dict[str, Any]:
    """Ask `count` versions at once, none of which has a worker."""
    own = subject.time_alone()["warm_s"]
    subject.push(stack, count)
    for version in subject.versions:
        subject.request(stack, version)
    stack.wait_scaled_to_zero(subject.versions)
    pools = stack.pools()
    together = threading.Barrier(count)

    def ask(number: int) -> float:
        together.wait()
        return subject.request(stack, subject.versions[number])

    with ThreadPoolExecutor(count) as threads, Memory() as memory:
        began = time.perf_counter()
        seconds = list(threads.map(ask, range(count)))
        took = time.perf_counter() - began
    added = spread([value - own for value in seconds])
    return {
        "model": subject.name,
        "versions": count,
        "answered": len(seconds),
        "own_inference_ms": round(own * 1000, 1),
        "added": added,
        "all_answered_s": round(took, 2),
        "memory_taken_mb": round(memory.before_mb - memory.least_mb),
        "pools_before": pools,
        "pools_after": stack.pools(),
    }


def registered(folder: Path, count: int) -> dict[str, Any]:
    """Return what the runner costs idle, without and with versions that nobody asks."""
    with site(folder) as stack:
        time.sleep(SETTLE_SECONDS)
        before = cost("runner", stack.runner().pid).pss_mb
        with stack.client() as client:
            account = client.whoami()
        stack.stop()
        owner = User(
            id=account.id, name=account.name, email=account.email, password_hash="", created_at=utcnow()
        )
        fill(stack.data_dir / "mongo" / "vitrine.db", documents(owner, count, 0))
        stack.start()
        time.sleep(SETTLE_SECONDS)
        after = cost("runner", stack.runner().pid).pss_mb
        with stack.client() as client:
            shown = client.version(f"{account.name}/model-{count - 1:05d}@1").state
    return {
        "versions": count,
        "last_one_is": shown,
        "runner_before_mb": before,
        "runner_after_mb": after,
        "growth_mb": round(after - before, 1),
    }


def text(result: dict[str, Any]) -> str:
    """Format a measurement for people."""
    one, many, added = result["burst"], result["registered"], result["burst"]["added"]
    return (
        f"{one['answered']} of {one['versions']} versions of {one['model']} answered "
        f"in {one['all_answered_s']} s; "
        f"added p50 {added['p50_ms']:.0f} ms, p95 {added['p95_ms']:.0f} ms (goal {GOALS['added_p95_ms']:g}), "
        f"max {added['max_ms']:.0f} ms; memory {one['memory_taken_mb']} MB\n"
        f"{many['versions']} versions at zero: the runner has {many['runner_before_mb']} MB before and "
        f"{many['runner_after_mb']} MB after"
    )


def main() -> int:
    """Measure and print; the exit status says whether numbers were had, not whether they are good."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet56-script", help="as in cold_start.py")
    parser.add_argument("--versions", type=int, default=50)
    parser.add_argument("--registered", type=int, default=10_000)
    parser.add_argument("--python", type=Path, help="an interpreter with the packages, instead of making one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "goals": GOALS}
    with tempfile.TemporaryDirectory(prefix="vitrine-burst-") as name:
        folder = Path(name)
        python = options.python or author_interpreter(folder / "author", PACKAGES)
        subject = Subject(*bundle_of(options.model, folder, python), python)
        with site(folder / "asked") as stack:
            result["burst"] = burst(subject, stack, options.versions)
        result["registered"] = registered(folder / "registered", options.registered)
    sys.stdout.write((json.dumps(result, indent=2) if options.json else text(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
