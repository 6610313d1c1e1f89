"""Predictors that attack what serves them: each ends in the right reason, and neighbours go on."""

from __future__ import annotations

import pytest

from sandboxes import MIB, Bench, perform
from vitrine_engine import Limits, PredictorModel, Reason, Sandbox

LIMITS = Limits(
    memory_bytes=256 * MIB,
    processes=32,
    disk_bytes=16 * MIB,
    output_bytes=1 * MIB,
    log_bytes=64 * 1024,
    wall_seconds=30.0,
)
OUTPUT = {"name": "output", "type": "text", "required": True}
GOOD = "class Predictor:\n    def predict(self, name: str) -> str:\n        return 'hello ' + name\n"
STREAMS = """
import os, socket, struct, json
def streams():
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        if found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM:
            yield found
def frame(header, payload=b""):
    text = json.dumps(header).encode()
    return struct.pack("!II", len(text), len(payload)) + text + payload
"""


async def served(bench: Bench, code: str) -> Sandbox:
    sandbox = await bench.start(bundle=bench.bundle({"predict.py": code}), limits=LIMITS)
    await sandbox.load(PredictorModel(target="predict.py:Predictor", outputs=(OUTPUT,)))
    return sandbox


def predictor(body: str, head: str = STREAMS) -> str:
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return f"{head}\nclass Predictor:\n    def predict(self) -> str:\n{lines}\n        return 'done'\n"


ATTACKS: dict[str, tuple[str, set[Reason | None]]] = {
    "garbage on the stream": (
        "for one in streams(): one.sendall(b'x' * 4096)",
        {Reason.SANDBOX_VIOLATION},
    ),
    "a forged file of another output": (
        (
            "header = {'is': 'file', 'kind': 'output', 'name': 'x', 'size': 0, 'outputs': ['other']}\n"
            "for one in streams(): one.sendall(frame(header))"
        ),
        {Reason.SANDBOX_VIOLATION},
    ),
    "a forged file that leads up": (
        (
            "header = {'is': 'file', 'kind': 'output', 'name': '../../x', 'size': 0, 'outputs': ['output']}\n"
            "for one in streams(): one.sendall(frame(header))"
        ),
        {Reason.SANDBOX_VIOLATION},
    ),
    "more log than allowed": (
        "for one in streams(): one.sendall(frame({'is': 'log', 'stream': 'stdout'}, bytes(1 << 17)))",
        {Reason.SANDBOX_VIOLATION},
    ),
    "a forged end that blames the platform": (
        (
            "end = {'is': 'end', 'reason': 'user_error', 'message': 'mine', 'truncated': False}\n"
            "for one in streams(): one.sendall(frame(end))"
        ),
        {Reason.USER_ERROR},
    ),
    "closing every descriptor": (
        "os.closerange(0, 4096)\nwhile True: pass",
        {Reason.USER_ERROR, Reason.SANDBOX_VIOLATION, Reason.TIMEOUT, Reason.PLATFORM_ERROR},
    ),
    "patching what the harness uses": (
        (
            "import selectors, threading\n"
            "json.loads = json.dumps = struct.unpack = lambda *a, **k: 1 / 0\n"
            "socket.socket.sendall = lambda *a: None"
        ),
        {None, Reason.USER_ERROR, Reason.SANDBOX_VIOLATION, Reason.TIMEOUT},
    ),
    "processes without end": (
        "import time\nwhile True:\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)",
        {Reason.USER_ERROR},
    ),
    "a disk full of files": (
        "with open('/tmp/full', 'wb') as file:\n    while True: file.write(bytes(1 << 20))",
        {Reason.DISK_FULL},
    ),
    "memory without end": (
        "found = []\nwhile True: found.append(bytearray(1 << 24))",
        {Reason.OUT_OF_MEMORY},
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_ends_in_its_reason_and_a_neighbour_goes_on(bench: Bench, attack: str) -> None:
    body, reasons = ATTACKS[attack]
    neighbour = await served(bench, GOOD)
    attacker = await served(bench, predictor(body))
    ran = await perform(attacker, wall_seconds=5)
    assert ran.outcome.reason in reasons, (ran.outcome, ran.stderr)
    assert (await perform(neighbour, values={"name": "Ada"})).values == {"output": "hello Ada"}


async def test_a_flood_of_print_is_cut_and_harms_nobody(bench: Bench) -> None:
    body = "import sys\nfor _ in range(200):\n    print('x' * 4096)\nos.write(1, b'y' * 500_000)"
    sandbox = await served(bench, predictor(body))
    ran = await perform(sandbox)
    assert ran.outcome.reason is None, ran.outcome
    assert ran.outcome.log_truncated
    assert len(ran.stdout) <= LIMITS.log_bytes
    assert ran.values == {"output": "done"}


async def test_children_that_outlive_their_run_end_with_the_model(bench: Bench) -> None:
    body = "import subprocess\nsubprocess.Popen(['sleep', '600'])"
    sandbox = await served(bench, predictor(body))
    assert (await perform(sandbox)).outcome.reason is None
    await sandbox.stop()
    assert (await sandbox.usage()).processes == 0


async def test_a_predictor_sees_its_own_bundle_and_processes_alone(bench: Bench) -> None:
    body = (
        "names = sorted(name for name in os.listdir('/proc') if name.isdigit())\n"
        "return f'{len(names)} {os.getuid()} ' + ','.join(sorted(os.listdir('/work')))"
    )
    await served(bench, GOOD)
    sandbox = await served(bench, predictor(body))
    ran = await perform(sandbox)
    assert ran.outcome.reason is None, ran.outcome
    processes, uid, files = str(ran.values["output"]).split(" ")
    assert (int(processes) <= 5, uid != "0", files) == (True, True, "predict.py")
