"""What the first request to a version without a worker costs, against the model's own warm inference.

usage: cold_start.py [--model NAME|DIR]... [--versions N] [--rounds N] [--cold N] [--shell N] [--json]

Starts an embedded stack with the shipped defaults, pushes N versions of each model (they differ in one small
file), lets each run once, and waits until process table and runner know no worker of any. Then each is
asked once, over HTTP, for a whole run: `warm` is with the environment in use on the runner, as scaling to
zero leaves it; `cold` is after the whole stack was started anew. `added` is the request's time less the
model's own inference, timed alone, everything loaded, with as many threads as a run gets. `shell` is the
author's `python …` for the same command, with the same packages, bytecode compiled. A DIR is a bundle with
requirements.txt and `time.py`, which prints `{"warm_s": …}`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from stack_site import WAIT_SECONDS, Site, author_interpreter, machine, site, spread
from vitrine.results import Version

MAKE = Path(__file__).parent / "models" / "make.py"
MODELS = ("resnet56-script", "resnet56-predictor", "resnet56-onnx", "cyclegan-script", "gpt2-124m")
PACKAGES = ["torch==2.13.0", "numpy", "pillow", "safetensors", "onnx", "onnxruntime"]
SHELL_COMMANDS = {"gpt2": "python generate.py", "resnet56-predictor": "python test.py"}
GOALS = {"resnet56": {"p50_ms": 150.0, "p95_ms": 300.0}, "script_speedup": 5.0}


class Subject:
    """One model: its bundle, what it takes alone, and its versions."""

    def __init__(self, name: str, bundle: Path, python: Path) -> None:
        self.name = name
        self.bundle = bundle
        self._python = python
        self.versions: list[Version] = []
        spec = yaml.safe_load((bundle / "vitrine.yaml").read_text())
        self.is_script = "model" in spec
        own = next((line for part, line in SHELL_COMMANDS.items() if name.startswith(part)), None)
        self._command: str | None = spec["model"]["command"] if self.is_script else own
        pictures = [bundle / "input.png", bundle / "datasets" / "testA" / "image.jpg"]
        self._picture = next((path for path in pictures if path.exists()), None)

    def time_alone(self) -> dict[str, float]:
        """Return the seconds of loading and of inference, in a process of its own."""
        own = self.bundle / "time.py"
        command = (
            [str(self._python), str(own)]
            if own.exists()
            else [str(self._python), str(MAKE), "time", self.name, "."]
        )
        # As many threads as a run gets that asks for nothing.
        environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
        done = subprocess.run(
            command, cwd=self.bundle, check=True, capture_output=True, text=True, env=environment
        )
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    def time_shell(self, repeats: int) -> list[float] | None:
        """Return the seconds of the author's command line from a shell."""
        if self._command is None:
            return None
        seconds = []
        environment = {**os.environ, "PATH": f"{self._python.parent}:{os.environ['PATH']}"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(repeats + 1):
            began = time.perf_counter()
            subprocess.run(
                shlex.split(self._command), cwd=self.bundle, check=True, capture_output=True, env=environment
            )
            if turn:  # the first compiles the author's own files
                seconds.append(time.perf_counter() - began)
        return seconds

    def push(self, stack: Site, count: int) -> None:
        """Push versions that differ in one small file."""
        for number in range(count):
            (self.bundle / "number.txt").write_text(str(number))
            self.versions.append(stack.push(self.bundle))

    def request(self, stack: Site, version: Version) -> float:
        """Return the seconds of one run over HTTP, from the first byte sent to the last received."""
        path = f"/versions/{version.reference.replace('@', '/')}/runs"
        headers = {"Prefer": f"wait={WAIT_SECONDS}"}
        body: dict[str, Any] = {"json": {"inputs": {}}}
        if self._picture is not None:
            content = self._picture.read_bytes()
            body = {"files": {f"input.{self._input()}": (self._picture.name, content, "image/png")}}
        with stack.http() as http:
            http.get("/whoami").raise_for_status()
            began = time.perf_counter()
            answer = http.post(path, headers=headers, **body)
            took = time.perf_counter() - began
            run = answer.raise_for_status().json()
            while run["state"] not in {"succeeded", "failed", "cancelled", "expired"}:
                run = http.get(f"/runs/{run['id']}").raise_for_status().json()
                took = time.perf_counter() - began
        if run["state"] != "succeeded":
            sys.exit(f"{self.name}: the run {run['state']}: {run['message']}")
        return took

    def _input(self) -> str:
        spec = yaml.safe_load((self.bundle / "vitrine.yaml").read_text())
        return str(next(iter(spec.get("inputs", {"input": None}))))


def sample(subject: Subject, stack: Site, version: Version) -> float:
    """Ask a version that has no worker; the process table must say so."""
    if alive := stack.workers(version):
        sys.exit(f"{subject.name}: processes {alive} serve the version before the first request")
    return subject.request(stack, version)


def measure(subject: Subject, stack: Site, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one model on a running stack, which is started anew for its cold requests."""
    alone, shell = subject.time_alone(), subject.time_shell(options.shell)
    subject.push(stack, options.versions)
    first_ever = [sample(subject, stack, version) for version in subject.versions]
    second = [subject.request(stack, version) for version in subject.versions]
    warm: list[float] = []
    waited: list[float] = []
    pools: dict[str, Any] = {}
    for _ in range(options.rounds):
        waited.append(round(stack.wait_scaled_to_zero(subject.versions), 1))
        pools = stack.pools()
        warm += [sample(subject, stack, version) for version in subject.versions]
    found = bool(stack.workers(subject.versions[-1]))
    cold, cold_pools = [], {}
    for turn in range(options.cold):
        stack.stop()
        stack.start()
        cold_pools = stack.pools()
        cold.append(sample(subject, stack, subject.versions[turn % len(subject.versions)]))
    own = alone["warm_s"]
    result: dict[str, Any] = {
        "own_inference_ms": round(own * 1000, 1),
        "own_load_ms": round(alone.get("load_s", 0.0) * 1000, 1),
        "bundle_mb": round(
            sum(path.stat().st_size for path in subject.bundle.rglob("*") if path.is_file()) / 1e6, 1
        ),
        "warm_total": spread(warm),
        "warm_added": spread([value - own for value in warm]),
        "first_ever_added": spread([value - own for value in first_ever]),
        "next_request_total": spread(second),
        "worker_seen_after": found,
        "waited_for_zero_s": waited,
        "pools_before_warm": pools,
    }
    if cold:
        result |= {"cold_added": spread([value - own for value in cold]), "pools_before_cold": cold_pools}
    if shell is not None:
        result["shell_total"] = spread(shell)
        result["times_faster_than_shell"] = round(
            result["shell_total"]["p50_ms"] / result["warm_total"]["p50_ms"], 1
        )
    return result


def bundle_of(name: str, folder: Path, python: Path) -> tuple[str, Path]:
    """Write the named bundle, or copy the given one; return its name and place."""
    target = folder / "bundles" / Path(name).name
    target.parent.mkdir(exist_ok=True)
    if Path(name).is_dir():
        shutil.copytree(name, target)
    else:
        subprocess.run([python, MAKE, "write", name, target], check=True, stdout=subprocess.DEVNULL)
    return target.name, target


def text(result: dict[str, Any]) -> str:
    """Format a measurement for people."""
    lines = []
    for name, one in result["models"].items():
        added = one["warm_added"]
        line = f"{name:<20} warm +{added['p50_ms']:.0f} ms (p95 {added['p95_ms']:.0f}, "
        line += f"{added['min_ms']:.0f}…{added['max_ms']:.0f})"
        if "cold_added" in one:
            line += f"   cold +{one['cold_added']['p50_ms']:.0f} ms (max {one['cold_added']['max_ms']:.0f})"
        if "shell_total" in one:
            line += f"   shell {one['shell_total']['p50_ms']:.0f} ms, {one['times_faster_than_shell']:g}x"
        lines.append(f"{line}   own inference {one['own_inference_ms']:g} ms")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; the exit status says whether numbers were had, not whether they are good."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help=f"of {', '.join(MODELS)}, gpt2-1.5b, or a directory")
    parser.add_argument("--versions", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cold", type=int, default=3, help="requests after a start of the whole stack")
    parser.add_argument("--shell", type=int, default=5, help="runs of the author's command from a shell")
    parser.add_argument("--python", type=Path, help="an interpreter with the packages, instead of making one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "goals": GOALS, "models": {}}
    with tempfile.TemporaryDirectory(prefix="vitrine-cold-start-") as name:
        folder = Path(name)
        python = options.python or author_interpreter(folder / "author", PACKAGES)
        result["packages"] = PACKAGES
        with site(folder) as stack:
            for model in options.model or MODELS:
                subject = Subject(*bundle_of(model, folder, python), python)
                result["models"][subject.name] = measure(subject, stack, options)
                sys.stderr.write(f"{subject.name} done\n")
    sys.stdout.write((json.dumps(result, indent=2) if options.json else text(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
