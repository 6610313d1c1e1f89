"""What the embedded stack costs when nobody uses it: summed PSS of every process of `vitrine up`.

usage: footprint.py [--json] [--settle SECONDS] [--data-dir DIR]

PSS (proportional set size, Linux `smaps_rollup`) counts a page that n processes share as 1/n in each, so
the sum is what the machine really holds. Pages shared with programs outside the stack count less than
once; on a machine that runs little else that is the C library and nothing more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from vitrine.stack import control
from vitrine.stack.state import StackState

GOAL_MB = 400.0
SETTLE_SECONDS = 20.0


@dataclass(frozen=True)
class Cost:
    """One process: its part of the stack, its pid, and megabytes (10^6 bytes)."""

    part: str
    pid: int
    name: str
    pss_mb: float
    private_mb: float


def cost(part: str, pid: int) -> Cost:
    """Read what process `pid` costs now."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value, _unit = line.split()
        sizes[key.rstrip(":")] = int(value) * 1024 / 1e6
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Cost(part, pid, psutil.Process(pid).name(), round(sizes["Pss"], 1), round(private, 1))


def costs(state: StackState) -> list[Cost]:
    """Read every process of the stack: supervisor, parts, and whatever those have started."""
    found: list[Cost] = []
    assert state.pid is not None
    own = {part.pid: name for name, part in state.parts.items() if part.pid is not None}
    for process in [psutil.Process(state.pid), *psutil.Process(state.pid).children(recursive=True)]:
        line = [process, *process.parents()]
        part = next((own[one.pid] for one in line if one.pid in own), "supervisor")
        try:
            found.append(cost(part, process.pid))
        except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
            continue
    return sorted(found, key=lambda one: one.pss_mb, reverse=True)


def measure(data_dir: Path, settle: float) -> dict[str, Any]:
    """Start a stack on `data_dir`, let it settle, measure it and stop it."""
    started = time.monotonic()
    control.start_detached(data_dir, ["--data-dir", str(data_dir)])
    try:
        healthy = time.monotonic() - started
        time.sleep(settle)
        state = control.stack_state(data_dir)
        assert state is not None
        processes = costs(state)
    finally:
        control.stop_stack(data_dir)
    total = round(sum(one.pss_mb for one in processes), 1)
    parts: dict[str, float] = {}
    for one in processes:
        parts[one.part] = round(parts.get(one.part, 0.0) + one.pss_mb, 1)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "memory_mb": round(psutil.virtual_memory().total / 1e6),
            "python": platform.python_version(),
        },
        "state": state.state,
        "seconds_to_healthy": round(healthy, 2),
        "settle_seconds": settle,
        "total_pss_mb": total,
        "goal_mb": GOAL_MB,
        "within_goal": total <= GOAL_MB and state.state == "healthy",
        "parts_pss_mb": dict(sorted(parts.items(), key=lambda item: -item[1])),
        "processes": [asdict(one) for one in processes],
    }


def text(result: dict[str, Any]) -> str:
    """Format a measurement for people."""
    lines = [f"{part:<12} {size:8.1f} MB" for part, size in result["parts_pss_mb"].items()]
    verdict = "within" if result["within_goal"] else "OVER"
    return "\n".join([*lines, f"{'total':<12} {result['total_pss_mb']:8.1f} MB, {verdict} {GOAL_MB:g} MB"])


def main() -> int:
    """Measure and print; the exit status says whether a number was had, not whether it is good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--settle", type=float, default=SETTLE_SECONDS, help="seconds from healthy to idle")
    parser.add_argument("--data-dir", type=Path, help="measure a stack with this data; default: a fresh one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vitrine-footprint-") as folder:
        # A benchmark must not touch the login of whoever runs it.
        os.environ["VITRINE_CONFIG_DIR"] = f"{folder}/config"
        data_dir = (arguments.data_dir or Path(folder) / "data").absolute()
        result = measure(data_dir, arguments.settle)
    sys.stdout.write((json.dumps(result, indent=2) if arguments.json else text(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
