"""What every engine promises about runs of script models."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandboxes import SMALL, Bench, perform, python
from vitrine_engine import (
    CheckpointFile,
    Finished,
    InputFile,
    Log,
    OutputSpec,
    Reason,
    RunRequest,
    SandboxGoneError,
    ScriptModel,
)

SELECT_DESCRIPTORS = 1024
"""How many descriptors `select` can watch (FD_SETSIZE)."""


async def test_command_gets_its_arguments_directory_and_environment(bench: Bench) -> None:
    sandbox = await bench.script({"where/a.txt": "x"}, env={"FROM_SPEC": "1", "BOTH": "spec"})
    code = (
        "import os,sys,json;print(json.dumps([sys.argv[1:],os.getcwd(),dict(os.environ),sys.stdin.read()]))"
    )
    ran = await perform(
        sandbox,
        *python(code),
        "two words",
        "$HOME;*",
        workdir="where",
        env={"BOTH": "run"},
        values={"a-b": "text", "number": 3, "list": [1], "none": None},
        traceparent="00-aa-bb-01",
    )
    argv, directory, env, stdin = json.loads(ran.stdout)
    assert argv == ["two words", "$HOME;*"]
    assert directory == "/work/where"
    assert stdin == ""
    assert (env["FROM_SPEC"], env["BOTH"], env["HOME"]) == ("1", "run", "/tmp")
    assert (env["VITRINE_INPUT_A_B"], env["VITRINE_INPUT_NUMBER"]) == ("text", "3")
    assert env["VITRINE_INPUT_LIST"] == "[1]"
    assert "VITRINE_INPUT_NONE" not in env
    assert env["TRACEPARENT"] == "00-aa-bb-01"


async def test_success_has_no_reason_and_a_status_of_zero(bench: Bench) -> None:
    outcome = (await perform(await bench.script(), "true")).outcome
    assert (outcome.reason, outcome.exit_code, outcome.message) == (None, 0, "")
    timings = outcome.timings
    assert timings.started is not None
    assert timings.user is not None
    assert timings.collected is not None
    assert 0 < timings.started <= timings.user <= timings.collected


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (python("raise ValueError('the weights are missing')"), 1, "ValueError: the weights are missing"),
        (("sh", "-c", "echo cannot go on; exit 7"), 7, "cannot go on"),
        (("sh", "-c", "exit 3"), 3, "status 3"),
        (("sh", "-c", "kill -SEGV $$"), 139, "SIGSEGV"),
        (("no-such-program",), None, "`no-such-program` cannot be started"),
        (("/work",), None, "Permission denied"),
    ],
)
async def test_failure_is_the_users_with_its_last_words(
    bench: Bench, argv: tuple[str, ...], code: int | None, message: str
) -> None:
    outcome = (await perform(await bench.script(), *argv)).outcome
    assert (outcome.reason, outcome.exit_code) == (Reason.USER_ERROR, code)
    assert message in outcome.message


async def test_streams_arrive_apart_and_in_order(bench: Bench) -> None:
    code = "import sys\nfor n in range(500):\n print(n); print(-n, file=sys.stderr)"
    ran = await perform(await bench.script(), *python(code))
    assert ran.stdout.split() == [str(number) for number in range(500)]
    assert ran.stderr.split() == [str(-number) for number in range(500)]


async def test_output_arrives_while_the_program_runs(bench: Bench) -> None:
    sandbox = await bench.script()
    request = RunRequest(id="live", argv=("sh", "-c", "echo ready; exec sleep 600"))
    reasons = []
    async with contextlib.aclosing(sandbox.run(request)) as events:
        async for event in events:
            if isinstance(event, Log) and event.data == b"ready\n":
                await sandbox.cancel("live")
            if isinstance(event, Finished):
                reasons.append(event.outcome.reason)
    assert reasons == [Reason.CANCELLED]


async def test_files_come_in_and_outputs_go_out(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "large.bin"
    source.write_bytes(bytes(range(256)) * 8192)
    sandbox = await bench.script(
        {"run.sh": "#!/bin/sh\ncat in/a.txt > out/copy.txt; cp big.bin out/deep/er.bin"}
    )
    ran = await perform(
        sandbox,
        "sh",
        "-c",
        "mkdir -p out/deep && ./run.sh",
        files=(
            InputFile(name="a", source=b"hello", destination="in/a.txt"),
            InputFile(name="big", source=source, destination="big.bin"),
        ),
        outputs=(OutputSpec(pattern="out", name="all"), OutputSpec(pattern="**/*.txt", name="texts")),
    )
    assert ran.files == {"out/copy.txt": b"hello", "out/deep/er.bin": source.read_bytes()}
    by_name = {item.name: item for item in ran.outputs}
    assert by_name["out/copy.txt"].outputs == ("all", "texts")
    assert by_name["out/copy.txt"].media_type == "text/plain"
    large = by_name["out/deep/er.bin"]
    assert large.digest == f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    assert large.size == source.stat().st_size
    assert not large.file.exists()


async def test_inputs_replace_files_of_the_bundle(bench: Bench) -> None:
    sandbox = await bench.script({"data/x": "old"})
    file = InputFile(name="x", source=b"new", destination="data/x")
    assert (await perform(sandbox, "cat", "data/x", files=(file,))).stdout == "new"
    assert (await perform(sandbox, "cat", "data/x")).stdout == "old"


async def test_an_input_that_cannot_be_placed_is_invalid_and_named(bench: Bench) -> None:
    sandbox = await bench.script({"data": "a file"})
    file = InputFile(name="picture", source=b"x" * 3_000_000, destination="data/x")
    outcome = (await perform(sandbox, "true", files=(file,))).outcome
    assert outcome.reason is Reason.INPUT_INVALID
    assert "picture" in outcome.message
    assert (await perform(sandbox, "true")).outcome.reason is None


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("out/*.png", ["out/a.png"]),
        ("out/", ["out/a.png", "out/b.txt", "out/in/c.png"]),
        ("out/**/*.png", ["out/a.png", "out/in/c.png"]),
        ("out/[ab].*", ["out/a.png", "out/b.txt"]),
        ("./out/b.txt", ["out/b.txt"]),
        ("o?t/b.txt", ["out/b.txt"]),
        ("*.png", []),
    ],
)
async def test_patterns_choose_outputs(bench: Bench, pattern: str, found: list[str]) -> None:
    sandbox = await bench.script()
    command = "mkdir -p out/in; touch out/a.png out/b.txt out/in/c.png"
    ran = await perform(sandbox, "sh", "-c", command, outputs=(OutputSpec(pattern=pattern),))
    assert sorted(ran.files) == found


async def test_only_what_the_run_wrote_is_an_output(bench: Bench) -> None:
    sandbox = await bench.script({"r/kept": "1", "r/grown": "2", "r/replaced": "3", "r/gone": "4"})
    command = "echo more >> r/grown; rm r/replaced r/gone; echo new > r/replaced; echo own > r/own"
    given = InputFile(name="i", source=b"given", destination="r/given")
    ran = await perform(sandbox, "sh", "-c", command, files=(given,), outputs=(OutputSpec(pattern="r"),))
    assert ran.files == {"r/grown": b"2more\n", "r/replaced": b"new\n", "r/own": b"own\n"}


async def test_a_required_output_must_be_there(bench: Bench) -> None:
    sandbox = await bench.script()
    spec = OutputSpec(pattern="result.json", required=True)
    outcome = (await perform(sandbox, "true", outputs=(spec,))).outcome
    assert outcome.reason is Reason.USER_ERROR
    assert "result.json" in outcome.message
    assert (await perform(sandbox, "touch", "result.json", outputs=(spec,))).outcome.reason is None


async def test_every_run_starts_clean(bench: Bench) -> None:
    sandbox = await bench.script({"weights.bin": "original\n"})
    spoil = "echo bad > weights.bin; touch new /tmp/left /dev/shm/left; ls"
    assert (await perform(sandbox, "sh", "-c", spoil)).outcome.reason is None
    ran = await perform(sandbox, "sh", "-c", "cat weights.bin; ls; ls /tmp /dev/shm")
    assert ran.stdout.split() == ["original", "weights.bin", "/dev/shm:", "/tmp:"]


@pytest.fixture
def thousands_of_descriptors() -> Iterator[None]:
    """This process holds more descriptors than `select` can watch, as a busy service does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    held = [os.open("/dev/null", os.O_RDONLY)]
    try:
        while held[-1] < SELECT_DESCRIPTORS:
            held.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_service_may_have_thousands_of_open_descriptors(
    thousands_of_descriptors: None, bench: Bench
) -> None:
    sandbox = await bench.script({"data": "kept"})
    for _ in range(2):
        ran = await perform(sandbox, "cat", "data")
        assert (ran.outcome.reason, ran.stdout) == (None, "kept")


async def test_runs_beyond_the_limit_wait_for_their_turn(bench: Bench) -> None:
    sandbox = await bench.script()
    command = ("sh", "-c", "echo start; sleep 0.2; echo end")
    order: list[str] = []

    async def one(name: str) -> None:
        async for event in sandbox.run(RunRequest(id=name, argv=command)):
            if isinstance(event, Log):
                order.extend(event.data.decode().split())

    await asyncio.gather(one("first"), one("second"))
    assert order == ["start", "end", "start", "end"]


async def test_runs_go_on_side_by_side_where_allowed(bench: Bench) -> None:
    sandbox = await bench.script(max_runs=2)
    started = asyncio.Event()

    async def first() -> Any:
        request = RunRequest(id="first", argv=("sh", "-c", "echo up; exec sleep 600"))
        async for event in sandbox.run(request):
            if isinstance(event, Log):
                started.set()
            if isinstance(event, Finished):
                return event.outcome
        return None

    task = asyncio.ensure_future(first())
    await started.wait()
    assert (await perform(sandbox, "true")).outcome.reason is None
    await sandbox.cancel("first")
    assert (await task).reason is Reason.CANCELLED


async def test_a_waiting_run_can_be_cancelled(bench: Bench) -> None:
    sandbox = await bench.script()
    started = asyncio.Event()

    async def holder() -> None:
        async for event in sandbox.run(RunRequest(id="holder", argv=("sh", "-c", "echo; exec sleep 600"))):
            if isinstance(event, Log):
                started.set()

    task = asyncio.ensure_future(holder())
    await started.wait()
    waiting = asyncio.ensure_future(perform(sandbox, "true", id="waiting"))
    await asyncio.sleep(0)
    await sandbox.cancel("waiting")
    assert (await waiting).outcome.reason is Reason.CANCELLED
    await sandbox.cancel("holder")
    await task
    assert (await perform(sandbox, "true")).outcome.reason is None


async def test_time_is_limited(bench: Bench) -> None:
    sandbox = await bench.script()
    ran = await perform(sandbox, "sh", "-c", "echo before; exec sleep 600", wall_seconds=0.3)
    assert ran.outcome.reason is Reason.TIMEOUT
    assert "0.3 s" in ran.outcome.message
    assert ran.stdout == "before\n"
    assert (await perform(sandbox, "true")).outcome.reason is None


async def test_closing_the_iterator_ends_the_run(bench: Bench) -> None:
    sandbox = await bench.script()
    async with contextlib.aclosing(
        sandbox.run(RunRequest(id="left", argv=("sh", "-c", "echo; exec sleep 600")))
    ) as events:
        async for event in events:
            assert isinstance(event, Log)
            break
    assert (await perform(sandbox, "true")).outcome.reason is None
    assert (await sandbox.usage()).processes <= 4


async def test_metrics_come_from_the_two_line_call(bench: Bench) -> None:
    code = """
import vitrine_metrics as m
m.log(1, loss=0.5, nan=float("nan"))
m.log(accuracy=1)
m.progress(0.25, "a quarter")
import subprocess, sys
subprocess.run([sys.executable, "-c", "import vitrine_metrics as m; m.log(2, loss=0.25)"])
"""
    ran = await perform(await bench.script({"t.py": code}), "python", "t.py")
    assert [(item.step, dict(item.values)) for item in ran.metrics] == [
        (1, {"loss": 0.5}),
        (None, {"accuracy": 1.0}),
        (2, {"loss": 0.25}),
    ]
    assert [(item.fraction, item.message) for item in ran.progress] == [(0.25, "a quarter")]
    assert ran.stdout == ""


@pytest.mark.parametrize("asked", [True, False])
async def test_metrics_come_from_lines_of_json_when_asked(bench: Bench, asked: bool) -> None:
    lines = """\
{"step": 4, "loss": 0.1, "note": "x"}
{"metric": "f1", "value": 0.9}
plain
{broken
{"progress": 1}
"""
    ran = await perform(await bench.script({"l": lines}), "cat", "l", metrics=asked)
    expected = [(4, {"loss": 0.1}), (None, {"f1": 0.9})] if asked else []
    assert [(item.step, dict(item.values)) for item in ran.metrics] == expected
    assert [item.fraction for item in ran.progress] == ([1.0] if asked else [])
    assert ran.stdout == lines


async def test_checkpoints_are_reported_while_the_run_goes_on(bench: Bench) -> None:
    sandbox = await bench.script()
    command = "mkdir ckpt; echo one > ckpt/1.pt; echo; exec sleep 600"
    seen = []
    request = RunRequest(id="train", argv=("sh", "-c", command), checkpoints=("ckpt/*.pt",))
    async for event in sandbox.run(request):
        if isinstance(event, CheckpointFile):
            seen.append((event.name, event.file.read_bytes()))
            await sandbox.cancel("train")
    assert seen == [("ckpt/1.pt", b"one\n")]


async def test_the_last_checkpoint_survives_a_crash(bench: Bench) -> None:
    sandbox = await bench.script()
    ran = await perform(sandbox, "sh", "-c", "echo last > a.pt; exit 1", checkpoints=("*.pt",))
    assert ran.outcome.reason is Reason.USER_ERROR
    assert ran.files == {"a.pt": b"last\n"}


async def test_outputs_are_limited(bench: Bench) -> None:
    sandbox = await bench.script()
    command = ("sh", "-c", "head -c 9000000 /dev/zero > a; echo x > b")
    ran = await perform(sandbox, *command, outputs=(OutputSpec(pattern="*"),))
    assert ran.outcome.reason is Reason.OUTPUT_TOO_LARGE
    assert ran.files == {}
    assert (await perform(sandbox, "true")).outcome.reason is None


async def test_conda_activation_succeeds_and_does_nothing(bench: Bench) -> None:
    script = """set -e
eval "$(conda shell.bash hook)"
conda activate A
source activate B
python -c 'print("ran")'
"""
    ran = await perform(await bench.script({"a.sh": script}), "bash", "a.sh")
    assert (ran.outcome.reason, ran.stdout) == (None, "ran\n")


@pytest.mark.parametrize(
    ("field", "request_fields"),
    [
        ("argv", {"argv": ()}),
        ("run id", {"id": "../x"}),
        ("workdir", {"workdir": "/etc"}),
        ("destination of input a", {"files": (InputFile(name="a", source=b"", destination="../x"),)}),
        ("output", {"outputs": (OutputSpec(pattern="/etc/passwd"),)}),
        ("wall_seconds", {"wall_seconds": -1}),
        ("NUL", {"argv": ("a\0b",)}),
    ],
)
async def test_malformed_requests_are_refused(
    bench: Bench, field: str, request_fields: dict[str, Any]
) -> None:
    sandbox = await bench.script()
    with pytest.raises(ValueError, match=field):
        await perform(sandbox, "true", **request_fields)
    assert (await perform(sandbox, "true")).outcome.reason is None


async def test_a_stopped_sandbox_takes_no_model_and_refuses_runs(bench: Bench) -> None:
    sandbox = await bench.script()
    await sandbox.stop()
    await sandbox.stop()
    await sandbox.wait_exited()
    assert not sandbox.alive
    assert (await perform(sandbox, "true")).outcome.reason is Reason.CANCELLED
    assert (await sandbox.usage()).processes == 0
    fresh = await bench.start()
    await fresh.stop()
    with pytest.raises(SandboxGoneError):
        await fresh.load(ScriptModel())


async def test_stopping_cancels_what_runs(bench: Bench) -> None:
    sandbox = await bench.script()
    outcomes = []
    async for event in sandbox.run(RunRequest(id="long", argv=("sh", "-c", "echo; exec sleep 600"))):
        if isinstance(event, Log):
            stopping = asyncio.ensure_future(sandbox.stop())
        if isinstance(event, Finished):
            outcomes.append(event.outcome.reason)
    await stopping
    assert outcomes == [Reason.CANCELLED]


async def test_usage_grows_with_use(bench: Bench) -> None:
    sandbox = await bench.script()
    before = await sandbox.usage()
    code = """
import time
x = bytearray(60_000_000)
open("f", "wb").write(bytes(5_000_000))
time.sleep(600)
"""
    running = asyncio.ensure_future(perform(sandbox, *python(code), id="use"))
    while (during := await sandbox.usage()).disk_bytes < 5_000_000:
        await asyncio.sleep(0.05)
    await sandbox.cancel("use")
    peak = (await running).outcome.peak_memory_bytes
    assert peak is not None
    assert peak > 60_000_000
    assert during.memory_bytes > before.memory_bytes + 60_000_000
    assert during.processes > before.processes
    assert during.cpu_seconds > before.cpu_seconds


async def test_processors_are_shared_out(bench: Bench) -> None:
    """With half a processor, a program gets about half of its running time as CPU time."""
    sandbox = await bench.script(limits=replace(SMALL, cpus=0.5))
    code = """
import time
began, cpu = time.monotonic(), time.process_time()
while time.process_time() - cpu < 0.4: pass
print((time.process_time() - cpu) / (time.monotonic() - began))
"""
    ran = await perform(sandbox, *python(code))
    assert float(ran.stdout) < 0.75


async def test_an_input_that_the_host_lacks_is_the_platforms_fault(bench: Bench, tmp_path: Path) -> None:
    sandbox = await bench.script()
    file = InputFile(name="table", source=tmp_path / "gone", destination="t.csv")
    outcome = (await perform(sandbox, "true", files=(file,))).outcome
    assert outcome.reason is Reason.PLATFORM_ERROR
    assert "table" in outcome.message
    assert (await perform(sandbox, "true")).outcome.reason is None
