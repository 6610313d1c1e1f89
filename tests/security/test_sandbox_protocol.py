"""A harness that lies: whatever a sandbox sends, the engine checks it, kills the sandbox, and goes on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from docker_daemon import DockerDaemon
from sandboxes import SMALL, perform
from vitrine_engine import InputFile, OutputSpec, Reason, SandboxSpec, ScriptModel, StartError, run
from vitrine_engine.docker import DockerEngine
from vitrine_engine.process import ProcessEngine, nest

HARNESS = """#!{python}
import json, os, re, socket, struct, sys, threading, time
{connect}
control.recv(65536)
control.send(json.dumps({{"is": "ready", "protocol": 1, "overlay": True}}).encode())
def frame(header, payload=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("!II", len(text), len(payload)) + text + payload
while True:
    data, descriptors, _, _ = socket.recv_fds(control, 65536, 2)
    if not data: sys.exit()
    if not descriptors: continue
    stream = descriptors[0]
    if "cell" in json.loads(data):
        gate = socket.socket(fileno=stream)
        gate.send(b'{{"is": "placed"}}')
        descriptors = []
        while not descriptors:
            said, descriptors, _, _ = socket.recv_fds(gate, 4096, 1)
            if not said: sys.exit()
        stream = descriptors[0]
    run = socket.socket(fileno=stream)
    threading.Thread(target=lambda: [None for _ in iter(lambda: run.recv(65536), b"")], daemon=True).start()
    {evil}
"""
FILE = (
    'run.sendall(frame({{"is": "file", "kind": "output", "name": {name}, "size": {size}, "outputs": ["o"]}}'
)

LIES = {
    "no frame": 'run.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n" * 100)',
    "a frame of gigabytes": 'run.sendall(struct.pack("!II", 0xFFFFFFFF, 0xFFFFFFFF))',
    "no JSON": 'run.sendall(frame(b"{nonsense"))',
    "JSON nested without end": 'run.sendall(frame(b"[" * 1000000))',
    "no object": 'run.sendall(frame(b"[1]"))',
    "an unknown kind": 'run.sendall(frame({"is": "shell"}))',
    "a log of no stream": 'run.sendall(frame({"is": "log", "stream": "x"}, b"x"))',
    "more log than allowed": 'run.sendall(frame({"is": "log", "stream": "stdout"}, bytes(1 << 18)) * 2)',
    "a metric of text": 'run.sendall(frame({"is": "metric", "values": {"a": "b"}}))',
    "a metric that is not finite": 'run.sendall(frame({"is": "metric", "values": {"a": float("nan")}}))',
    "progress beyond the end": 'run.sendall(frame({"is": "progress", "fraction": 7, "message": ""}))',
    "an end of no reason": 'run.sendall(frame({"is": "end", "reason": "because", "message": ""}))',
    "a reason that is a list": 'run.sendall(frame({"is": "end", "reason": [], "message": ""}))',
    "two exits": 'run.sendall(frame({"is": "exited", "code": 0}) * 2)',
    "a status of text": 'run.sendall(frame({"is": "exited", "code": "0"}))',
    "a file that leads up": FILE.format(name='"../x"', size=0) + "))",
    "a file that is absolute": FILE.format(name='"/etc/cron.d/x"', size=0) + "))",
    "a file of no name": FILE.format(name="None", size=0) + "))",
    "a file of less than nothing": FILE.format(name='"x"', size=-1) + "))",
    "a file beyond the limit": FILE.format(name='"x"', size=1 << 40) + "))",
    "more bytes than announced": FILE.format(name='"x"', size=1) + ') + frame({"is": "data"}, b"xx"))',
    "an output that nobody asked for": FILE.format(name='"x"', size=0).replace('"o"', '"p"') + "))",
    "a file inside a file": FILE.format(name='"x"', size=1) + ') + frame({"is": "exited", "code": 0}))',
    "a tensor that does not fill its shape": (
        'run.sendall(frame({"is": "tensor", "name": "t", "dtype": "float32", "shape": [9], "size": 1})'
        ' + frame({"is": "data"}, b"x"))'
    ),
    "a tensor of objects": (
        'run.sendall(frame({"is": "tensor", "name": "t", "dtype": "object", "shape": [], "size": 0}))'
    ),
    "a value beyond the limit": (
        'run.sendall(frame({"is": "value", "name": "v", "type": "json", "value": "x" * 9000000}))'
    ),
}


CONNECT = {
    "process": r'control = socket.socket(fileno=int(re.search(r"main\((\d+)\)", sys.argv[-1]).group(1)))',
    "docker": "control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
    'control.connect("/vitrine/control/socket")',
}


class Impostor:
    """Starts sandboxes in which a script speaks for the harness."""

    def __init__(self, kind: str, directory: Path, daemon: DockerDaemon | None) -> None:
        self.kind = kind
        self.launcher = directory / "launcher"
        self.launcher.write_text("#!/bin/false")
        self.launcher.chmod(0o755)
        self.engine: ProcessEngine | DockerEngine
        if daemon is None:
            self.engine = ProcessEngine(directory / "state", bwrap=str(self.launcher))
        else:
            self.engine = DockerEngine(directory / "state", url=daemon.url, base_image=daemon.base_image)
            package = directory / "state" / "harness" / "vitrine_harness"
            shutil.rmtree(package / "__pycache__")
            self.launcher = package / "container.py"

    def speak(self, text: str) -> None:
        """Let sandboxes be spoken for by this program."""
        self.launcher.write_text(text)

    async def perform(self, evil: str) -> Reason | None:
        self.speak(HARNESS.format(python=sys.executable, connect=CONNECT[self.kind], evil=evil))
        victim = await self.engine.start(SandboxSpec(id="impostor", limits=SMALL))
        await victim.load(ScriptModel())
        ran = await perform(
            victim,
            "true",
            wall_seconds=0.5,
            outputs=(OutputSpec(pattern="x", name="o"),),
            files=(InputFile(name="i", source=b"x" * 500_000, destination="i"),),
        )
        reason = ran.outcome.reason
        assert ran.outcome.message or reason is None
        if reason is Reason.SANDBOX_VIOLATION:
            assert not victim.alive
        await victim.stop()
        return reason


@pytest.fixture(params=["process", "docker"])
async def impostor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Impostor]:
    monkeypatch.setattr(run, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(run, "CANCEL_SECONDS", 0.2)
    monkeypatch.setattr(nest, "KILL_SECONDS", 0.2)
    daemon = request.getfixturevalue("docker_daemon") if request.param == "docker" else None
    found = Impostor(request.param, tmp_path, daemon)
    yield found
    await found.engine.aclose()


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_a_violation(impostor: Impostor, lie: str) -> None:
    assert await impostor.perform(f"{LIES[lie]}; time.sleep(60)") is Reason.SANDBOX_VIOLATION


async def test_a_harness_that_says_nothing_runs_out_of_time(impostor: Impostor) -> None:
    assert await impostor.perform("time.sleep(60)") is Reason.TIMEOUT


async def test_a_harness_that_never_stops_talking_runs_out_of_time(impostor: Impostor) -> None:
    evil = 'while True: run.sendall(frame({"is": "disk", "bytes": 1})); time.sleep(0.01)'
    assert await impostor.perform(evil) is Reason.TIMEOUT


async def test_a_harness_that_dies_is_the_platforms_fault(impostor: Impostor) -> None:
    assert await impostor.perform("sys.exit()") is Reason.PLATFORM_ERROR


async def test_a_harness_cannot_claim_a_cancellation(impostor: Impostor) -> None:
    evil = 'run.sendall(frame({"is": "end", "reason": "cancelled", "message": "x"})); time.sleep(60)'
    assert await impostor.perform(evil) is Reason.PLATFORM_ERROR


@pytest.mark.parametrize(
    "first",
    ['b"nonsense"', 'b"[]"', 'b"{}"', '{"is": "ready", "protocol": 99}', '{"is": "hello", "protocol": 1}'],
)
async def test_a_harness_that_greets_wrongly_does_not_start(impostor: Impostor, first: str) -> None:
    text = HARNESS.format(python=sys.executable, connect=CONNECT[impostor.kind], evil="pass")
    greeting = 'json.dumps({"is": "ready", "protocol": 1, "overlay": True}).encode()'
    assert greeting in text
    said = first if first.startswith("b") else f"json.dumps({first}).encode()"
    impostor.speak(text.replace(greeting, said))
    with pytest.raises(StartError):
        await impostor.engine.start(SandboxSpec(id="rude", limits=SMALL))
