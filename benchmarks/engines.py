"""What a sandbox costs in time on each engine: its start, a script's run, a warm ONNX run.

usage: engines.py [--json] [--rounds N]

`docker run` of the same script in the same base image, with the same limits, is the peer of a script's run.
The warm calls go to a loaded model that adds two small float tensors. Needs root: Docker's figures come from
a daemon of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from docker_site import DockerSite, docker_site
from sandboxes import make_onnx_environment, write_onnx_models
from vitrine_engine import (
    Engine,
    Finished,
    Limits,
    OnnxModel,
    RunRequest,
    Sandbox,
    SandboxSpec,
    ScriptModel,
    Tensor,
)
from vitrine_engine.docker import DockerEngine
from vitrine_engine.process import ProcessEngine

MIB = 1 << 20
LIMITS = Limits(memory_bytes=512 * MIB, disk_bytes=64 * MIB, wall_seconds=60)
SCRIPT = "print(sum(range(1000)))"
WARM_FACTOR = 20
"""Warm calls are short: this many for each round."""
PAUSE_SECONDS = 0.6
"""Between the runs of a script that find the next container made."""


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Return median and 90th percentile."""
    ordered = sorted(value * 1000 for value in seconds)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p90_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))], 2),
    }


async def seconds_of(sandbox: Sandbox, request: RunRequest) -> float:
    """Return how long a run takes; a failure ends the benchmark."""
    began = time.perf_counter()
    async for event in sandbox.run(request):
        if isinstance(event, Finished) and event.outcome.reason is not None:
            sys.exit(f"a run failed: {event.outcome.reason} {event.outcome.message}")
    return time.perf_counter() - began


@contextlib.asynccontextmanager
async def started(engine: Engine, name: str, **fields: Any) -> AsyncIterator[Sandbox]:
    """Start a sandbox for the block."""
    sandbox = await engine.start(SandboxSpec(**{"id": name, "limits": LIMITS, **fields}))
    try:
        yield sandbox
    finally:
        await sandbox.stop()


async def starts(engine: Engine, rounds: int) -> list[float]:
    """Measure from nothing to a sandbox that takes runs."""
    found = []
    for number in range(rounds):
        began = time.perf_counter()
        async with started(engine, f"start-{number}") as sandbox:
            await sandbox.load(ScriptModel())
            found.append(time.perf_counter() - began)
    return found


async def scripts(engine: Engine, bundle: Path, rounds: int, pause: float) -> list[float]:
    """Measure runs of a script, with a pause before each."""
    found = []
    async with started(engine, "scripts", bundle=bundle) as sandbox:
        await sandbox.load(ScriptModel())
        for number in range(rounds):
            await asyncio.sleep(pause)
            request = RunRequest(id=f"run-{number}", argv=("python", "script.py"))
            found.append(await seconds_of(sandbox, request))
    return found


async def warm(engine: Engine, environment: Path, models: Path, rounds: int) -> list[float]:
    """Measure calls of a loaded ONNX model with raw tensors."""
    tensor = Tensor(dtype="float32", shape=(1, 4), data=struct.pack("<4f", 1, 2, 3, 4))
    found = []
    async with started(engine, "onnx", environment=environment, bundle=models) as sandbox:
        await sandbox.load(OnnxModel(path="sum.onnx"))
        for number in range(rounds + 5):
            request = RunRequest(id=f"run-{number}", tensors={"a": tensor, "b": tensor})
            found.append(await seconds_of(sandbox, request))
    return found[5:]


async def measure(engine: Engine, bundle: Path, models: Path, rounds: int) -> dict[str, Any]:
    """Measure one engine."""
    found: dict[str, Any] = {
        "start": milliseconds(await starts(engine, rounds)),
        "script": milliseconds(await scripts(engine, bundle, rounds, PAUSE_SECONDS)),
        "script_one_after_the_other": milliseconds(await scripts(engine, bundle, rounds, 0.0)),
    }
    environment = make_onnx_environment()
    found["warm_onnx"] = milliseconds(await warm(engine, environment, models, rounds * WARM_FACTOR))
    await engine.aclose()
    return found


def docker_runs(site: DockerSite, bundle: Path, rounds: int) -> list[float]:
    """Measure `docker run` of the script with the same limits, for comparison."""
    command = ["docker", "-H", site.url, "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL"]
    command += ["--memory=512m", "--cpus=1", "-v", f"{bundle}:/work:ro", "-w", "/work", site.base_image]
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([*command, "python3", "script.py"], check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return found


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


def main() -> None:
    """Measure both engines and the peer, and print."""
    arguments = parse()
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory() as directory, docker_site() as site:
        root = Path(directory)
        root.chmod(0o755)
        bundle = root / "bundle"
        bundle.mkdir()
        (bundle / "script.py").write_text(SCRIPT)
        models = root / "models"
        models.mkdir()
        write_onnx_models(make_onnx_environment(), models)

        async def engines() -> None:
            found["process"] = await measure(
                ProcessEngine(root / "process"), bundle, models, arguments.rounds
            )
            docker = DockerEngine(root / "docker", url=site.url, base_image=site.base_image)
            found["docker"] = await measure(docker, bundle, models, arguments.rounds)

        asyncio.run(engines())
        found["docker_run"] = {"script": milliseconds(docker_runs(site, bundle, arguments.rounds))}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for name in ("process", "docker", "docker_run"):
        for what, figures in found[name].items():
            print(f"{name:<11} {what:<28} p50 {figures['p50_ms']:8.2f} ms   p90 {figures['p90_ms']:8.2f} ms")


if __name__ == "__main__":
    main()
