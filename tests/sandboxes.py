"""Fixtures for tests that run programs in real sandboxes, on every engine that this machine has."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from docker_daemon import DockerDaemon
from vitrine_engine import (
    Engine,
    Finished,
    Limits,
    Loaded,
    Log,
    Metric,
    OnnxModel,
    Outcome,
    OutputFile,
    OutputTensor,
    OutputValue,
    Progress,
    RunEvent,
    RunRequest,
    Sandbox,
    SandboxSpec,
    ScriptModel,
)
from vitrine_engine.docker import DockerEngine
from vitrine_engine.docker.sandbox import DockerSandbox
from vitrine_engine.process import ProcessEngine

MIB = 1 << 20
SMALL = Limits(
    memory_bytes=256 * MIB,
    cpus=1.0,
    processes=64,
    disk_bytes=32 * MIB,
    output_bytes=8 * MIB,
    log_bytes=256 * 1024,
    wall_seconds=60.0,
)
ONNX_PACKAGES = ("onnxruntime==1.31.1", "numpy==2.4.6", "pillow==13.0.0", "onnx==1.23.2")
_counter = itertools.count(1)


@dataclass
class Ran:
    """What one run reported."""

    events: list[RunEvent] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        (finished,) = [event for event in self.events if isinstance(event, Finished)]
        assert self.events[-1] is finished
        return finished.outcome

    def printed(self, stream: str = "stdout") -> str:
        found = [event.data for event in self.events if isinstance(event, Log) and event.stream == stream]
        return b"".join(found).decode()

    @property
    def stdout(self) -> str:
        return self.printed("stdout")

    @property
    def stderr(self) -> str:
        return self.printed("stderr")

    @property
    def metrics(self) -> list[Metric]:
        return [event for event in self.events if isinstance(event, Metric)]

    @property
    def progress(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]

    @property
    def outputs(self) -> list[OutputFile]:
        return [event for event in self.events if isinstance(event, OutputFile)]

    @property
    def values(self) -> dict[str, Any]:
        return {event.name: event.value for event in self.events if isinstance(event, OutputValue)}

    @property
    def tensors(self) -> dict[str, OutputTensor]:
        return {event.name: event for event in self.events if isinstance(event, OutputTensor)}


async def perform(sandbox: Sandbox, *argv: str, **fields: Any) -> Ran:
    """Run to the end and keep everything, the outputs' bytes too."""
    request = RunRequest(**{"id": f"run-{next(_counter)}", "argv": argv, **fields})
    ran = Ran()
    async with contextlib.aclosing(sandbox.run(request)) as events:
        async for event in events:
            ran.events.append(event)
            if isinstance(event, OutputFile):
                ran.files[event.name] = event.file.read_bytes()
    return ran


def python(code: str) -> tuple[str, ...]:
    """Return the command line that executes `code` with the environment's Python."""
    return ("python", "-c", code)


class Bench:
    """Makes bundles and sandboxes for one test."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        self.directory = directory
        self.sandboxes: list[Sandbox] = []

    def bundle(self, files: Mapping[str, str | bytes]) -> Path:
        """Write a bundle; `.sh` files are executable."""
        root = self.directory / f"bundle-{next(_counter)}"
        root.mkdir()
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
        return root

    async def start(self, **fields: Any) -> Sandbox:
        """Start a sandbox without a model."""
        name = f"test-{os.getpid()}-{next(_counter)}"
        sandbox = await self.engine.start(SandboxSpec(**{"id": name, "limits": SMALL, **fields}))
        self.sandboxes.append(sandbox)
        return sandbox

    async def strike(self, sandbox: Sandbox) -> None:
        """Kill what holds a sandbox, as an operator or a kernel might."""
        if isinstance(sandbox, DockerSandbox):
            await asyncio.to_thread(_kill_containers, self.engine, sandbox.containers)
        else:
            assert sandbox.pid is not None
            os.kill(sandbox.pid, signal.SIGKILL)

    async def script(self, files: Mapping[str, str | bytes] | None = None, **fields: Any) -> Sandbox:
        """Start a sandbox with a script model made of `files`."""
        sandbox = await self.start(bundle=self.bundle(files or {}), **fields)
        await sandbox.load(ScriptModel())
        return sandbox

    async def onnx(
        self, environment: Path, model: Path, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
    ) -> tuple[Sandbox, Loaded]:
        """Start a sandbox that serves an ONNX file."""
        bundle = self.bundle({"model.onnx": model.read_bytes()})
        limits = Limits(memory_bytes=512 * MIB, disk_bytes=32 * MIB, wall_seconds=60)
        sandbox = await self.start(bundle=bundle, environment=environment, limits=limits)
        return sandbox, await sandbox.load(OnnxModel(path="model.onnx", inputs=inputs, outputs=outputs))


def _kill_containers(engine: Engine, containers: list[str]) -> None:
    assert isinstance(engine, DockerEngine)
    with contextlib.closing(docker.DockerClient(base_url=engine.url)) as client:
        for container in containers:
            client.containers.get(container).kill()


@pytest.fixture(scope="session", params=["process", "docker"])
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    """Every engine in turn; an adapter joins the behaviour suite by joining this list."""
    directory = tmp_path_factory.mktemp("engine")
    found: Engine
    if request.param == "docker":
        daemon: DockerDaemon = request.getfixturevalue("docker_daemon")
        found = DockerEngine(directory, url=daemon.url, base_image=daemon.base_image)
    else:
        found = ProcessEngine(directory)
    yield found
    await found.aclose()


@pytest.fixture
async def bench(engine: Engine, tmp_path: Path) -> AsyncIterator[Bench]:
    """A place to make bundles and sandboxes, which end with the test."""
    made = Bench(engine, tmp_path)
    yield made
    for sandbox in made.sandboxes:
        await sandbox.stop()


@pytest.fixture(scope="session")
def onnx_environment() -> Path:
    """An environment with ONNX Runtime, made once on this machine and kept between test runs."""
    return make_onnx_environment()


def make_onnx_environment() -> Path:
    """Return the directory of an environment with ONNX Runtime; the first call on a machine makes it."""
    key = hashlib.sha256("\n".join((*ONNX_PACKAGES, sys.version)).encode()).hexdigest()[:16]
    root = Path(tempfile.gettempdir(), f"vitrine-test-environments-{os.getuid()}")
    root.mkdir(mode=0o755, exist_ok=True)
    made = root / f"onnx-{key}"
    with (root / f"onnx-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make_environment(made, ONNX_PACKAGES)
        if not (described := made / "environment.json").exists():
            described.write_text("{}")
    return made


def _make_environment(target: Path, packages: tuple[str, ...]) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    draft = target.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    site = draft / "lib" / version / "site-packages"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert uv, "uv belongs to the development group"
    found = {"UV_FIND_LINKS": links} if (links := os.environ.get("PIP_FIND_LINKS")) else {}
    install = [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--python", sys.executable]
    subprocess.run(
        [*install, "--target", str(site), *packages],
        check=True,
        env={**os.environ, **found},
    )
    subprocess.run([sys.executable, "-m", "compileall", "-q", site], check=True, env=_compiling())
    (draft / "bin").mkdir()
    for name in (version, "python3", "python"):
        (draft / "bin" / name).symlink_to(f"/opt/python/bin/{version}")
    (draft / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    draft.rename(target)


def _compiling() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


ONNX_MODELS = """
import sys
from onnx import TensorProto as T, helper as h, save
directory = sys.argv[1]

def write(name, nodes, inputs, outputs, initializers=()):
    graph = h.make_graph(nodes, name, inputs, outputs, list(initializers))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    model.ir_version = 9
    save(model, f"{directory}/{name}.onnx")

# mean of the picture's quarters as scores of four classes
write("quarters",
    [h.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
     h.make_node("Flatten", ["pooled"], ["scores"])],
    [h.make_tensor_value_info("image", T.FLOAT, ["batch", 1, 8, 8])],
    [h.make_tensor_value_info("scores", T.FLOAT, ["batch", 4])])
# a sum, and the picture that it got
write("sum",
    [h.make_node("Add", ["a", "b"], ["sum"])],
    [h.make_tensor_value_info("a", T.FLOAT, [1, "n"]), h.make_tensor_value_info("b", T.FLOAT, [1, "n"])],
    [h.make_tensor_value_info("sum", T.FLOAT, [1, "n"])])
# needs far more memory than it has: a tensor of as many numbers as asked for
write("expand",
    [h.make_node("Expand", ["one", "shape"], ["filled"]),
     h.make_node("ReduceSum", ["filled"], ["total"], keepdims=0)],
    [h.make_tensor_value_info("shape", T.INT64, [1])],
    [h.make_tensor_value_info("total", T.FLOAT, [])],
    [h.make_tensor("one", T.FLOAT, [1], [1.0])])
"""


@pytest.fixture(scope="session")
def onnx_models(onnx_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `quarters.onnx`, `sum.onnx` and `expand.onnx`."""
    return write_onnx_models(onnx_environment, tmp_path_factory.mktemp("models"))


def write_onnx_models(environment: Path, directory: Path) -> Path:
    """Write the models into a directory and return it."""
    (site,) = environment.glob("lib/python3*/site-packages")
    subprocess.run(
        [sys.executable, "-c", ONNX_MODELS, directory],
        check=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    return directory
