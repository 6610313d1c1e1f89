"""What every engine promises about predictors: set up once, called for each run, streamed, stopped."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sandboxes import MIB, Bench, Ran, perform
from vitrine_engine import (
    Batching,
    InputFile,
    Limits,
    LoadError,
    OutputValue,
    PredictorModel,
    Reason,
    RunRequest,
    Sandbox,
)

LIMITS = Limits(memory_bytes=256 * MIB, disk_bytes=32 * MIB, output_bytes=2 * MIB, log_bytes=64 * 1024)


def output(kind: str = "text", name: str = "output", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "required": True, **more}


async def predictor(
    bench: Bench,
    code: str,
    *outputs: dict[str, Any],
    name: str = "predict.py:Predictor",
    batching: Batching | None = None,
    limits: Limits = LIMITS,
    files: dict[str, str | bytes] | None = None,
    **fields: Any,
) -> Sandbox:
    """Start a sandbox that serves `code` as predict.py."""
    bundle = bench.bundle({"predict.py": code, **(files or {})})
    sandbox = await bench.start(bundle=bundle, limits=limits, **fields)
    await sandbox.load(PredictorModel(target=name, outputs=outputs or (output(),), batching=batching))
    return sandbox


GREETER = """
class Predictor:
    def setup(self):
        print("loading")
        self.word = open("word.txt").read()
        self.calls = 0

    def predict(self, name: str, times: int = 1) -> str:
        self.calls += 1
        print("greeting", name)
        return f"{self.calls}: " + ", ".join([f"{self.word} {name}"] * times)
"""


async def test_a_predictor_is_set_up_once_and_called_for_each_run(bench: Bench) -> None:
    sandbox = await predictor(bench, GREETER, files={"word.txt": "Hello"})
    first = await perform(sandbox, values={"name": "Ada"})
    second = await perform(sandbox, values={"name": "Bob", "times": 2})
    assert first.outcome.reason is None, first.outcome.message
    assert first.values == {"output": "1: Hello Ada"}
    assert first.stderr == "loading\n"
    assert first.stdout == "greeting Ada\n"
    assert second.values == {"output": "2: Hello Bob, Hello Bob"}
    assert (second.stdout, second.stderr) == ("greeting Bob\n", "")


async def test_a_function_is_a_predictor(bench: Bench) -> None:
    code = "def shout(text: str) -> str:\n    return text.upper()\n"
    sandbox = await predictor(bench, code, name="predict.py:shout")
    assert (await perform(sandbox, values={"text": "hi"})).values == {"output": "HI"}


ARGUMENTS = """
import enum
import pathlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Optional

class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"

@dataclass
class Point:
    x: float
    y: float = 0.5

def predict(count: int, ratio: float, flag: bool, size: Size, mode: Literal["a", "b"], point: Point,
            tags: list[str], path: pathlib.Path, data: bytes, stream: BinaryIO, note: Optional[str] = None,
            free: Any = None) -> dict:
    return {
        "count": count, "ratio": ratio, "flag": flag, "size": size.name, "mode": mode, "x": point.x,
        "y": point.y, "tags": tags, "path": [path.name, path.read_text()], "data": data.decode(),
        "stream": stream.read().decode(), "note": note, "free": free,
    }
"""


async def test_values_arrive_as_the_hints_say(bench: Bench) -> None:
    sandbox = await predictor(bench, ARGUMENTS, output("json"), name="predict.py:predict")
    files = ("path", "data", "stream")
    ran = await perform(
        sandbox,
        values={
            "count": 3,
            "ratio": 2,
            "flag": "true",
            "size": "large",
            "mode": "b",
            "point": {"x": 1.5},
            "tags": ["p", "q"],
            "free": [1, {"k": None}],
        },
        files=tuple(InputFile(name=name, source=name.encode(), destination=f"{name}.txt") for name in files),
    )
    assert ran.outcome.reason is None, ran.outcome.message
    assert ran.values["output"] == {
        "count": 3,
        "ratio": 2.0,
        "flag": True,
        "size": "LARGE",
        "mode": "b",
        "x": 1.5,
        "y": 0.5,
        "tags": ["p", "q"],
        "path": ["path.txt", "path"],
        "data": "data",
        "stream": "stream",
        "note": None,
        "free": [1, {"k": None}],
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "input `count` is missing"),
        ({"count": "many"}, "input `count` must be a number"),
        ({"count": 1, "colour": "red"}, "predict takes no `colour`; it takes count, size"),
        ({"count": 1, "size": "huge"}, "input `size` must be one of small, large"),
    ],
)
async def test_a_value_that_does_not_fit_is_invalid(
    bench: Bench, values: dict[str, Any], message: str
) -> None:
    code = """
from typing import Literal
def predict(count: int, size: Literal["small", "large"] = "small") -> str:
    return size * count
"""
    sandbox = await predictor(bench, code, name="predict.py:predict")
    outcome = (await perform(sandbox, values=values)).outcome
    assert (outcome.reason, outcome.message) == (Reason.INPUT_INVALID, message)
    assert (await perform(sandbox, values={"count": 2})).values == {"output": "smallsmall"}


async def test_an_error_of_the_author_ends_the_run_and_not_the_model(bench: Bench) -> None:
    code = """
import sys
class Predictor:
    def predict(self, what: str) -> str:
        if what == "exit":
            sys.exit(3)
        if what == "fail":
            raise ValueError("no such animal")
        return what
"""
    sandbox = await predictor(bench, code)
    failed = await perform(sandbox, values={"what": "fail"})
    assert failed.outcome.reason is Reason.USER_ERROR
    assert failed.outcome.message == "ValueError: no such animal"
    assert 'predict.py", line 8, in predict' in failed.stderr
    assert "vitrine_harness" not in failed.stderr
    left = await perform(sandbox, values={"what": "exit"})
    assert left.outcome.reason is Reason.USER_ERROR
    assert "sys.exit(3)" in left.outcome.message
    assert (await perform(sandbox, values={"what": "cat"})).values == {"output": "cat"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no weights')", "RuntimeError: no weights"),
        ("import sys; sys.exit(2)", r"it called sys.exit\(2\)"),
        ("import os; os._exit(9)", "the model ended its process with status 9 while it was loaded"),
        ("import os; os.kill(os.getpid(), 11)", "the model's process was ended by SIGSEGV"),
    ],
)
async def test_a_setup_that_fails_is_the_authors_fault(bench: Bench, body: str, message: str) -> None:
    code = f"class Predictor:\n    def setup(self):\n        print('so far')\n        {body}\n"
    with pytest.raises(LoadError, match=message) as caught:
        await predictor(bench, code)
    assert caught.value.reason is Reason.USER_ERROR
    if "RuntimeError" in message:
        assert "so far" in caught.value.log
        assert "line 4, in setup" in caught.value.log


async def test_a_file_that_cannot_be_imported_names_the_package(bench: Bench) -> None:
    with pytest.raises(LoadError, match="add the package that has `absent_library`"):
        await predictor(bench, "import absent_library\nclass Predictor: pass\n")
    with pytest.raises(LoadError, match="has no `Model`; it has Predictor"):
        await predictor(bench, "class Predictor: pass\n", name="predict.py:Model")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os._exit(7)", "the model ended its process with status 7 while it served the run"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the model's process was ended by SIGSEGV"),
    ],
)
async def test_a_model_that_ends_its_process_is_told_apart(bench: Bench, body: str, message: str) -> None:
    code = f"import os, signal\nclass Predictor:\n    def predict(self) -> str:\n        {body}\n"
    sandbox = await predictor(bench, code)
    outcome = (await perform(sandbox)).outcome
    assert outcome.reason is Reason.USER_ERROR
    assert outcome.message.startswith(message)
    await sandbox.wait_exited()
    assert not sandbox.alive


async def test_too_much_memory_is_told_as_such(bench: Bench) -> None:
    code = "class Predictor:\n    def predict(self) -> str:\n        return 'x' * len(bytearray(1 << 30))\n"
    sandbox = await predictor(bench, code)
    assert (await perform(sandbox)).outcome.reason is Reason.OUT_OF_MEMORY


STREAMER = """
import time
class Predictor:
    def predict(self, words: str, stop_at: int = 0):
        for place, word in enumerate(words.split()):
            if stop_at and place == stop_at:
                time.sleep(60)
            print("word", place)
            yield word + " "
"""


async def test_pieces_come_as_they_are_made(bench: Bench) -> None:
    sandbox = await predictor(bench, STREAMER)
    request = RunRequest(id="slow", values={"words": "one two three", "stop_at": 2})
    seen: list[str] = []
    async with contextlib.aclosing(sandbox.run(request)) as events:
        async for event in events:
            if isinstance(event, OutputValue):
                assert event.partial
                seen.append(event.value)
            if len(seen) == 2:
                break  # the third would take a minute
    assert seen == ["one ", "two "]
    ran = await perform(sandbox, values={"words": "a b"})
    pieces = [event for event in ran.events if isinstance(event, OutputValue)]
    assert [(piece.name, piece.value, piece.partial) for piece in pieces] == [
        ("output", "a ", True),
        ("output", "b ", True),
    ]
    assert sandbox.alive


async def test_a_cancelled_run_ends_and_the_model_goes_on(bench: Bench) -> None:
    code = """
import time
class Predictor:
    def setup(self):
        self.served = 0
    def predict(self, seconds: float) -> int:
        self.served += 1
        print("begun", flush=True)
        time.sleep(seconds)
        return self.served
"""
    sandbox = await predictor(bench, code, output("number"))
    ran = await cancelled_when_begun(sandbox, {"seconds": 300})
    assert ran.outcome.reason is Reason.CANCELLED
    assert (await perform(sandbox, values={"seconds": 0})).values == {"output": 2}
    late = await perform(sandbox, values={"seconds": 300}, wall_seconds=0.5)
    assert (late.outcome.reason, late.outcome.message) == (
        Reason.TIMEOUT,
        "the run took longer than 0.5 s",
    )
    assert (await perform(sandbox, values={"seconds": 0})).values == {"output": 4}


async def test_a_run_that_does_not_stop_takes_the_model_along(bench: Bench) -> None:
    code = """
import time
class Predictor:
    def predict(self) -> str:
        while True:
            try:
                print("begun", flush=True)
                time.sleep(60)
            except BaseException:
                pass
"""
    sandbox = await predictor(bench, code)
    ran = await cancelled_when_begun(sandbox, {})
    assert ran.outcome.reason is Reason.CANCELLED
    assert not sandbox.alive


async def cancelled_when_begun(sandbox: Sandbox, values: dict[str, Any]) -> Ran:
    """Run until the predictor says that it has begun, then cancel."""
    ran = Ran()
    request = RunRequest(id="wanted-no-more", values=values)
    async with contextlib.aclosing(sandbox.run(request)) as events:
        async for event in events:
            ran.events.append(event)
            if ran.stdout == "begun\n":
                await sandbox.cancel(request.id)
    return ran


MEETING = """
import threading
class Predictor:
    def setup(self):
        self.barrier = threading.Barrier(3)
    def predict(self, name: str) -> str:
        print("I am", name)
        self.barrier.wait(30)
        print("bye from", name)
        return name.upper()
"""


async def test_runs_are_served_at_once_in_threads(bench: Bench) -> None:
    sandbox = await predictor(bench, MEETING, max_runs=3)
    names = ["ada", "bob", "eve"]
    found = await asyncio.gather(*(perform(sandbox, values={"name": name}) for name in names))
    for name, ran in zip(names, found, strict=True):
        assert ran.values == {"output": name.upper()}
        assert ran.stdout == f"I am {name}\nbye from {name}\n"


ASYNC = """
import asyncio
class Predictor:
    async def setup(self):
        self.here = asyncio.Event()
        self.count = 0
    async def predict(self, name: str, alone: bool = False) -> str:
        print("hello", name)
        self.count += 1
        if self.count == 2:
            self.here.set()
        if not alone:
            await self.here.wait()
        return name
"""


async def test_an_asynchronous_predictor_serves_tasks(bench: Bench) -> None:
    sandbox = await predictor(bench, ASYNC, max_runs=2)
    found = await asyncio.gather(*(perform(sandbox, values={"name": name}) for name in ("a", "b")))
    assert [ran.values["output"] for ran in found] == ["a", "b"]
    assert [ran.stdout for ran in found] == ["hello a\n", "hello b\n"]


async def test_an_asynchronous_run_is_cancelled_alone(bench: Bench) -> None:
    code = """
import asyncio
class Predictor:
    async def predict(self, seconds: float) -> str:
        print("begun")
        try:
            await asyncio.sleep(seconds)
        finally:
            print("cleaned up")
        return "slept"
"""
    sandbox = await predictor(bench, code, max_runs=2)
    other = asyncio.create_task(perform(sandbox, values={"seconds": 0.3}))
    ran = await cancelled_when_begun(sandbox, {"seconds": 300})
    assert ran.outcome.reason is Reason.CANCELLED
    assert "cleaned up" in ran.stdout
    assert (await other).values == {"output": "slept"}


BATCHED = """
class Predictor:
    def setup(self):
        self.calls = 0
    def predict(self, text: list[str], times: list[int] = [1]) -> list[str]:
        self.calls += 1
        print("batch of", len(text))
        return [f"{word * count}/{len(text)}" for word, count in zip(text, times)]
"""


async def test_runs_that_come_together_are_one_call(bench: Bench) -> None:
    batching = Batching(size=3, wait_seconds=20.0)
    sandbox = await predictor(bench, BATCHED, max_runs=3, batching=batching)
    values = [{"text": "a", "times": 2}, {"text": "b", "times": 1}, {"text": "c", "times": 3}]
    found = await asyncio.gather(*(perform(sandbox, values=one) for one in values))
    assert [ran.values["output"] for ran in found] == ["aa/3", "b/3", "ccc/3"]


async def test_one_bad_input_does_not_spoil_a_batch(bench: Bench) -> None:
    batching = Batching(size=2, wait_seconds=20.0)
    sandbox = await predictor(bench, BATCHED, max_runs=2, batching=batching)
    good, bad = await asyncio.gather(
        perform(sandbox, values={"text": "a", "times": 2}),
        perform(sandbox, values={"text": "b", "times": "often"}),
    )
    assert good.values == {"output": "aa/1"}
    assert bad.outcome.reason is Reason.INPUT_INVALID


FILES = """
import os, pathlib, tempfile, subprocess
class Predictor:
    def predict(self, count: int) -> list[pathlib.Path]:
        folder = pathlib.Path(tempfile.mkdtemp())
        made = []
        for number in range(count):
            path = folder / f"{number}.txt"
            path.write_text(f"number {number}")
            made.append(path)
        subprocess.run(["sh", "-c", "echo from a child; echo problem >&2"], check=True)
        os.write(1, b"around python\\n")
        return made
"""


async def test_returned_files_are_sent_and_removed(bench: Bench) -> None:
    sandbox = await predictor(bench, FILES, output("file", "made"))
    for _ in range(2):
        ran = await perform(sandbox, values={"count": 2})
        assert ran.outcome.reason is None, ran.outcome.message
        assert ran.files == {"0.txt": b"number 0", "1.txt": b"number 1"}
        assert {event.outputs for event in ran.outputs} == {("made",)}
        assert ran.stdout == "from a child\naround python\n"
        assert ran.stderr == "problem\n"


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        ("'/etc'", "file", "output `output`: /etc is not a file"),
        ("'/tmp/absent'", "file", "output `output`: /tmp/absent cannot be read: No such file or directory"),
        ("object()", "json", "is no JSON value"),
        ("'many'", "number", "output `output` must be a number, not 'many'"),
        ("None", "text", "output `output` is None; return a value for it"),
        ("3.5", "image", "cannot be made of float: return a path, bytes or an image"),
    ],
)
async def test_a_result_that_is_not_what_was_declared(
    bench: Bench, result: str, kind: str, message: str
) -> None:
    code = f"class Predictor:\n    def predict(self):\n        return {result}\n"
    sandbox = await predictor(bench, code, output(kind))
    outcome = (await perform(sandbox)).outcome
    assert outcome.reason is Reason.USER_ERROR
    assert message in outcome.message


async def test_results_beyond_the_limit_are_refused(bench: Bench) -> None:
    code = "class Predictor:\n    def predict(self, size: int):\n        return 'x' * size\n"
    sandbox = await predictor(bench, code)
    assert (await perform(sandbox, values={"size": 3 << 20})).outcome.reason is Reason.OUTPUT_TOO_LARGE
    assert (await perform(sandbox, values={"size": 3})).values == {"output": "xxx"}


async def test_a_record_fills_several_outputs(bench: Bench) -> None:
    code = """
from dataclasses import dataclass
@dataclass
class Reading:
    text: str
    score: float
    extra: dict
class Predictor:
    def predict(self) -> Reading:
        return Reading("seven", 0.5, {"nan": float("nan"), "set": {1}})
"""
    declared = (output("text", "text"), output("number", "score"), output("json", "extra"))
    sandbox = await predictor(bench, code, *declared)
    ran = await perform(sandbox)
    assert ran.values == {"text": "seven", "score": 0.5, "extra": {"nan": None, "set": [1]}}


async def test_reports_of_a_run_reach_it(bench: Bench) -> None:
    code = """
import vitrine_metrics
class Predictor:
    def predict(self) -> str:
        vitrine_metrics.progress(0.5, "half")
        vitrine_metrics.log(step=1, tokens=12)
        return "done"
"""
    sandbox = await predictor(bench, code)
    ran = await perform(sandbox)
    assert ran.outcome.reason is None, ran.outcome.message
    assert [(event.fraction, event.message) for event in ran.progress] == [(0.5, "half")]
    assert [(dict(event.values), event.step) for event in ran.metrics] == [({"tokens": 12.0}, 1)]


async def test_the_working_directory_is_private_and_writable(bench: Bench) -> None:
    code = """
import os
class Predictor:
    def predict(self, name: str) -> str:
        with open(name, "a") as file:
            file.write("x")
        return os.getcwd() + " " + open(name).read()
"""
    files: dict[str, str | bytes] = {"weights.bin": "w"}
    first = await predictor(bench, code, files=files)
    assert (await perform(first, values={"name": "weights.bin"})).values == {"output": "/work wx"}
    second = await bench.start(bundle=first.spec.bundle, limits=LIMITS)  # type: ignore[attr-defined]
    await second.load(PredictorModel(target="predict.py:Predictor", outputs=(output(),)))
    assert (await perform(second, values={"name": "weights.bin"})).values == {"output": "/work wx"}
