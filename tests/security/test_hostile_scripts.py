"""Scripts that misbehave: each ends as what it did, and a healthy model on the same runner answers on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from stack_desk import StackDesk

# The first test to come also waits for the stack and the training, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)

SPEC = """\
name: {name}
model:
  command: python model.py
  input: {{type: flag}}
inputs:
  n: {{type: number, integer: true, default: 1}}
outputs:
  answer: {{type: text, path: answer.txt}}
resources: {{cpu: 1, memory: 96Mi, disk: 8Mi, processes: 24, timeout: {timeout}}}
"""
ANSWER = """
import sys
n = int(sys.argv[sys.argv.index("--n") + 1])
"""
HEALTHY = f"{ANSWER}open('answer.txt', 'w').write(str(n * n))"


@dataclass(frozen=True)
class Hostile:
    """A script, and what has to become of it."""

    name: str
    script: str
    reason: str
    said: str
    timeout: str = "20s"


HOSTILE = [
    Hostile(
        "exits",
        "import sys; print('no such layer', file=sys.stderr); sys.exit(1)",
        "user_error",
        "no such layer",
    ),
    Hostile("silent", "print('done')", "user_error", "answer"),
    Hostile("hangs", "import time; time.sleep(10**6)", "timeout", "2", "2s"),
    Hostile(
        "forks",
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        "timeout",
        "2",
        "2s",
    ),
    Hostile("eats", "kept = []\nwhile True:\n    kept.append(bytearray(4 << 20))", "out_of_memory", "memory"),
    Hostile(
        "writes",
        "with open('big', 'wb') as file:\n    while True:\n        file.write(b'x' * (1 << 20))",
        "disk_full",
        "disk",
    ),
    Hostile("prints", "while True:\n    print('x' * (1 << 20))", "timeout", "2", "2s"),
]


def push(stack: StackDesk, name: str, script: str, timeout: str = "20s", **files: str) -> dict[str, Any]:
    spec = SPEC.format(name=name, timeout=timeout)
    version = stack.push(stack.bundle(name, {"vitrine.yaml": spec, "model.py": script, **files}))
    assert version["state"] == "ready", version
    return version


def answer(run: Mapping[str, Any]) -> Any:
    assert run["state"] == "succeeded", run
    (output,) = run["outputs"]
    return output["value"]


@pytest.fixture(scope="module")
def healthy(stack: StackDesk) -> str:
    reference: str = push(stack, "healthy", HEALTHY)["reference"]
    return reference


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_script_harms_itself_alone(stack: StackDesk, healthy: str, case: Hostile) -> None:
    version = push(stack, f"hostile-{case.name}", case.script, case.timeout)
    with stack.client() as client:
        begun = client.submit(version["reference"], {"n": 1})
        for n in (3, 12):
            assert answer(client.run(healthy, n=n).document()) == str(n * n)
        run = client.wait(begun).document()
    assert (run["state"], run["reason"]) == ("failed", case.reason), run
    assert case.said in run["message"], run["message"]
    assert len(run["log_tail"]) <= 64 << 10
    if case.name == "exits":
        assert run["exit_code"] == 1
        assert "no such layer" in run["log_tail"]
    assert answer(stack.run(healthy, n=7)) == "49"
    assert not any(output["filename"] == "answer.txt" for output in run["outputs"])


def test_a_script_that_rewrites_its_weights_changes_no_later_run(stack: StackDesk) -> None:
    script = (
        "import os\nweights = open('weights.txt').read()\nos.chmod('weights.txt', 0o666)\n"
        "open('weights.txt', 'w').write('stolen')\n"
        "open('answer.txt', 'w').write(weights + open('weights.txt').read())"
    )
    version = push(stack, "hostile-rewrites", script, **{"weights.txt": "true"})
    answers = [answer(stack.run(version["reference"], n=n)) for n in range(3)]
    assert answers == ["truestolen"] * 3
    with stack.api() as api:
        path = version["reference"].replace("@", "/")
        manifest = api.get(f"/versions/{path}/manifest").raise_for_status().json()
    assert manifest["files"] == sorted(manifest["files"], key=lambda file: file["path"])
    assert version["digest"] == stack.push(stack.folder / "bundles/hostile-rewrites")["digest"]


def test_a_hanging_script_is_cancelled(stack: StackDesk, healthy: str) -> None:
    version = push(stack, "hostile-cancelled", "import time; time.sleep(10**6)", "300s")
    with stack.client() as client:
        begun = client.submit(version["reference"], {"n": 1})
        client.cancel(begun.id)
        run = client.wait(begun).document()
    assert (run["state"], run["reason"]) == ("cancelled", "cancelled"), run
    assert answer(stack.run(healthy, n=5)) == "25"
