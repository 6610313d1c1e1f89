"""Warm calls through HTTP: ResNet-56 as ONNX, served by Vitrine and by what people use otherwise.

usage: serve.py [--rounds N] [--seconds S] [--target NAME]... [--json]

Every server runs the same file with one thread a call. In each round every target is called in turn, at
concurrency 1 and 16, by a process of its own (`serve_load.py`); what is told are the ranges over the rounds.
Vitrine runs as `vitrine up` starts it, with sandboxes, bus, quotas and records (and the daily quota raised);
the others run alone, unsandboxed, and record nothing. Environments are made once from the locked requirements
and kept below `.cache/serve`. Differences under 15 % are ties.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from uv import find_uv_bin

from vitrine import Client
from vitrine.stack import control
from vitrine_common.indexes import uv_environment

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "serve"
PEERS = HERE / "serve_peers"
CONCURRENCIES = (1, 16)
READY_SECONDS = 120.0
_random = Random(56)
VALUES = [_random.gauss(0, 1) for _ in range(3 * 32 * 32)]
RAW = struct.pack(f"<{len(VALUES)}f", *VALUES)
INPUT: dict[str, Any] = {"name": "input", "datatype": "FP32", "shape": [1, 3, 32, 32]}
JSON_BODY = json.dumps({"inputs": [{**INPUT, "data": VALUES}]}).encode()
JSON_HEADER = ("Content-Type: application/json",)


@dataclass
class Target:
    """A server that is called, and how."""

    name: str
    port: int
    path: str
    body: bytes = JSON_BODY
    headers: tuple[str, ...] = JSON_HEADER
    about: str = ""
    rounds: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def environment(name: str) -> Path:
    """Return the Python of a peer's environment, made from its locked requirements unless it is there."""
    requirements = HERE / "requirements" / f"serve-{name}.txt"
    folder = CACHE / name
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != requirements.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        uv, settings = find_uv_bin(), {**os.environ, **uv_environment(os.environ)}
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True, env=settings)
        install: list[str | Path] = [
            uv,
            "pip",
            "install",
            "-q",
            "--python",
            folder / "bin" / "python",
            "--compile-bytecode",
        ]
        subprocess.run([*install, "--require-hashes", "-r", requirements], check=True, env=settings)
        shutil.copy(requirements, stamp)
    return folder / "bin" / "python"


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(command: list[str | Path], folder: Path, port: int, **variables: str) -> Iterator[None]:
    """Run a peer while the block lasts, from when it listens."""
    settings = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # One thread a call, wherever a library decides for itself.
    settings |= {"OMP_NUM_THREADS": "1", "PORT": str(port), **variables}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=settings, stdout=log, stderr=log, start_new_session=True
        )
    try:
        ends = time.monotonic() + READY_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > ends:
                sys.exit(f"{command[0]} did not start:\n{(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def by_hand(model: Path, folder: Path) -> Iterator[list[Target]]:
    """FastAPI with one process, whose threads compute side by side."""
    port = free_port()
    shutil.copy(PEERS / "by_hand.py", folder)
    command: list[str | Path] = [
        environment("fastapi"),
        "-m",
        "uvicorn",
        "by_hand:app",
        "--port",
        str(port),
        "--no-access-log",
    ]
    with serving([*command, "--log-level", "error"], folder, port, MODEL=str(model)):
        yield [
            Target("fastapi by hand, JSON", port, "/json", about="1 process, threads"),
            Target(
                "fastapi by hand, raw bytes",
                port,
                "/raw",
                RAW,
                ("Content-Type: application/octet-stream",),
                "1 process, threads",
            ),
        ]


@contextmanager
def litserve(model: Path, folder: Path) -> Iterator[list[Target]]:
    """LitServe with two workers."""
    port = free_port()
    command: list[str | Path] = [environment("litserve"), PEERS / "litserve_server.py"]
    with serving(command, folder, port, MODEL=str(model), WORKERS="2"):
        yield [Target("litserve, JSON", port, "/predict", about="2 workers")]


@contextmanager
def bentoml(model: Path, folder: Path) -> Iterator[list[Target]]:
    """BentoML with two workers."""
    port = free_port()
    shutil.copy(PEERS / "bento_service.py", folder / "service.py")
    command: list[str | Path] = [
        environment("bentoml"),
        "-m",
        "bentoml",
        "serve",
        "service:Net",
        "--port",
        str(port),
    ]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder)}
    with serving([*command, "--host", "127.0.0.1"], folder, port, MODEL=str(model), WORKERS="2", **quiet):
        yield [Target("bentoml, JSON", port, "/infer", about="2 workers")]


@contextmanager
def mlserver(model: Path, folder: Path) -> Iterator[list[Target]]:
    """MLServer with one process, which is quicker here than its parallel workers."""
    port, grpc, metrics = free_port(), free_port(), free_port()
    shutil.copy(PEERS / "mlserver_runtime.py", folder)
    listens = {"host": "127.0.0.1", "http_port": port, "grpc_port": grpc, "metrics_port": metrics}
    settings = {**listens, "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "net", "implementation": "mlserver_runtime.Net"})
    )
    python = environment("mlserver")
    with serving(
        [python.with_name("mlserver"), "start", "."], folder, port, MODEL=str(model), PYTHONPATH=str(folder)
    ):
        yield [Target("mlserver, JSON", port, "/v2/models/net/infer", about="1 process")]


@contextmanager
def vitrine(model: Path, folder: Path) -> Iterator[list[Target]]:
    """Vitrine as `vitrine up` starts it."""
    bundle, data = folder / "resnet56", folder / "data"
    bundle.mkdir()
    shutil.copy(model, bundle / "model.onnx")
    (bundle / "vitrine.yaml").write_text("name: resnet56\nonnx: model.onnx\n")
    os.environ["VITRINE_CONFIG_DIR"] = str(folder / "config")
    os.environ["VITRINE_API_MAX_RUNS_PER_DAY"] = "100000000"
    os.environ.update(uv_environment(os.environ))
    announced = control.start_detached(data, ["--data-dir", str(data), "--port", str(free_port())])
    try:
        account = json.loads((data / "account.json").read_text())
        with Client(announced.url, account["token"]) as client:
            version = client.built(client.push(bundle))
            if version.state != "ready":
                sys.exit(f"the version cannot be run: {version}")
            owner = client.whoami().name
        port = int(announced.url.rpartition(":")[2])
        path = f"/v2/models/{owner}~resnet56/infer"
        head = json.dumps(
            {
                "inputs": [{**INPUT, "parameters": {"binary_data_size": len(RAW)}}],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        token = f"Authorization: Bearer {account['token']}"
        length = f"Inference-Header-Content-Length: {len(head)}"
        yield [
            Target("vitrine, JSON", port, path, headers=(*JSON_HEADER, token), about="sandboxed, recorded"),
            Target("vitrine, binary tensors", port, path, head + RAW, (token, length), "sandboxed, recorded"),
        ]
    finally:
        control.stop_stack(data)


SERVERS = {
    "vitrine": vitrine,
    "fastapi": by_hand,
    "litserve": litserve,
    "bentoml": bentoml,
    "mlserver": mlserver,
}


def load(target: Target, body: Path, concurrency: int, seconds: float) -> dict[str, Any]:
    """Call a target from a process of its own."""
    command: list[str | Path] = [
        sys.executable,
        HERE / "serve_load.py",
        "--port",
        str(target.port),
        "--path",
        target.path,
    ]
    command += ["--body", body, "--concurrency", str(concurrency), "--seconds", str(seconds)]
    for header in target.headers:
        command += ["--header", header]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failed"]:
        sys.exit(
            f"{target.name} failed {found['failed']} of {found['calls']} calls: {found['first_failure']}"
        )
    return found


def measure(names: list[str], rounds: int, seconds: float) -> list[Target]:
    """Start every server and call each in turn, round after round."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vitrine-serve-")))
        root.chmod(0o755)
        model = root / "model.onnx"
        subprocess.run([environment("model"), HERE / "serve_model.py", model], check=True)
        targets: list[Target] = []
        for name in names:
            (root / name).mkdir()
            targets += stack.enter_context(SERVERS[name](model, root / name))
        bodies = {}
        for number, target in enumerate(targets):
            bodies[target.name] = root / f"body-{number}"
            bodies[target.name].write_bytes(target.body)
            load(target, bodies[target.name], 4, 1.0)  # warm up
        for _ in range(rounds):
            for target in targets:
                for concurrency in CONCURRENCIES:
                    seen = load(target, bodies[target.name], concurrency, seconds)
                    target.rounds.setdefault(concurrency, []).append(seen)
        return targets


def summary(target: Target) -> dict[str, Any]:
    """Return the ranges over the rounds."""

    def span(concurrency: int, key: str) -> dict[str, float]:
        values = sorted(seen[key] for seen in target.rounds[concurrency])
        return {"median": values[len(values) // 2], "min": values[0], "max": values[-1]}

    return {
        "server": target.name,
        "about": target.about,
        "request_bytes": len(target.body),
        "concurrency_1": {"p50_ms": span(1, "p50_ms"), "p99_ms": span(1, "p99_ms")},
        "concurrency_16": {
            "per_second": span(16, "per_second"),
            "p50_ms": span(16, "p50_ms"),
            "p99_ms": span(16, "p99_ms"),
        },
    }


def print_table(found: Sequence[Mapping[str, Any]]) -> None:
    """Print the ranges for a person."""
    print(f"{'server':28} {'p50 ms at 1':>22} {'p99 ms at 1':>22} {'calls/s at 16':>24}")
    for item in found:
        one, many = item["concurrency_1"], item["concurrency_16"]
        cells = [
            f"{span['median']:g} ({span['min']:g}-{span['max']:g})"
            for span in (one["p50_ms"], one["p99_ms"], many["per_second"])
        ]
        print(f"{item['server']:28} {cells[0]:>22} {cells[1]:>22} {cells[2]:>24}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--target", action="append", choices=sorted(SERVERS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    targets = measure(arguments.target or list(SERVERS), arguments.rounds, arguments.seconds)
    found = [summary(target) for target in targets]
    if arguments.json:
        cores = len(os.sched_getaffinity(0))
        facts = {"measured_at": datetime.now(UTC).isoformat(), "cores": cores, "load": os.getloadavg()}
        print(json.dumps({**facts, "servers": found}, indent=2))
    else:
        print_table(found)


if __name__ == "__main__":
    main()
