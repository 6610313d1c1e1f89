"""Runs that are no Python program, such as `bash run.sh`: the `python` that they call is a fork."""

from __future__ import annotations

import asyncio

import pytest

from sandboxes import perform, python
from zygotes import ZygoteBench

IS_FORK = "import sys; print('numpy' in sys.modules)"
PACKAGES = {"numpy": "x = 1\n", "heavy": "import numpy\n"}


async def shell(zygotes: ZygoteBench, script: str, **files: str) -> tuple[str, str, str | None]:
    """Return output, errors and reason of `sh run.sh`."""
    named = {name.replace("_py", ".py"): text for name, text in files.items()}
    bundle = {"run.sh": script, "names.py": "import numpy\n", "is_fork.py": IS_FORK, **named}
    sandbox = await zygotes.script(zygotes.environment(PACKAGES), bundle)
    ran = await perform(sandbox, "sh", "run.sh")
    return ran.stdout, ran.stderr, ran.outcome.reason


@pytest.mark.parametrize("program", ["python", "python3", "python3.11", "exec python"])
async def test_python_of_a_shell_script_is_a_fork(zygotes: ZygoteBench, program: str) -> None:
    assert await shell(zygotes, f"{program} is_fork.py") == ("True\n", "", None)


async def test_python_of_a_python_program_is_a_fork(zygotes: ZygoteBench) -> None:
    script = "python main.py"
    main = "import subprocess; print(subprocess.run(['python', 'is_fork.py'], capture_output=True).stdout)"
    assert await shell(zygotes, script, main_py=main) == ("b'True\\n'\n", "", None)


async def test_streams_and_statuses_are_the_shells(zygotes: ZygoteBench) -> None:
    script = (
        "echo one > log; python -c 'print(input())' < run.sh >> log; head -c 8 log\n"
        "echo piped | python -c 'print(input()[::-1])' | tr d D\n"
        "python -c 'raise SystemExit(3)'; echo $?; python -c 'import os; os.kill(os.getpid(), 15)'; echo $?\n"
        "python -c 'print(1/0)' 2>&1 | tail -n 1; python nothing.py; echo $?\n"
    )
    out, errors, reason = await shell(zygotes, script)
    assert out == "one\nechoDepip\n3\n143\nZeroDivisionError: division by zero\n2\n"
    assert errors.endswith(
        "python: can't open file '/work/nothing.py': [Errno 2] No such file or directory\n"
    )
    assert reason is None


async def test_files_as_streams_cost_no_fork(zygotes: ZygoteBench) -> None:
    script = "python is_fork.py > log < run.sh 2> errors; cat log errors; python is_fork.py"
    assert await shell(zygotes, script) == ("True\nTrue\n", "", None)


async def test_what_a_fork_cannot_do_the_real_one_does(zygotes: ZygoteBench) -> None:
    script = (
        "python -O is_fork.py; PYTHONHASHSEED=1 python is_fork.py; python < is_fork.py\n"
        "python -c 'import sys; print(sys.prefix)'\n"
    )
    assert await shell(zygotes, script) == ("False\nFalse\nFalse\n/env\n", "", None)


async def test_signals_reach_the_fork(zygotes: ZygoteBench) -> None:
    main = (
        "import signal, sys\n"
        "signal.signal(15, lambda *_: (print('told'), sys.exit(7)))\n"
        "print('up'); open('up', 'w').close()\nwhile True: signal.pause()\n"
    )
    script = "python main.py & while [ ! -e up ]; do sleep 0.01; done; kill $!; wait $!; echo $?"
    assert await shell(zygotes, script, main_py=main) == ("up\ntold\n7\n", "", None)


async def test_many_at_a_time(zygotes: ZygoteBench) -> None:
    one = "python -c 'import sys; sys.stdout.write(str(\"numpy\" in sys.modules))'"
    script = f"for i in 1 2 3 4 5 6 7 8 9 10; do {one} & done; wait"
    assert await shell(zygotes, script) == ("True" * 10, "", None)


async def test_what_programs_import_is_learnt(zygotes: ZygoteBench) -> None:
    sandbox = await zygotes.script(
        zygotes.environment(PACKAGES),
        {"run.sh": "python -c 'import heavy'\npython -c 'import heavy, json'\n"},
    )
    ran = await perform(sandbox, "sh", "run.sh")
    assert ran.outcome.reason is None
    (learned,) = (zygotes.directory / "state" / "learned").iterdir()
    assert "heavy" in learned.read_text()


async def test_a_sandbox_goes_to_the_zygote_that_knows_more(zygotes: ZygoteBench) -> None:
    environment = zygotes.environment({"numpy": "x = 1\n", "heavy": "y = 1\n"})
    sandbox = await zygotes.script(environment, {"run.py": "import numpy\n"})
    (first,) = zygotes.shelters
    is_there = python("import sys; print('heavy' in sys.modules); import heavy")
    assert (await perform(sandbox, *is_there)).stdout == "False\n"
    async with asyncio.timeout(30):
        while not first.retired:
            await asyncio.sleep(0.01)
    assert (await perform(sandbox, *is_there)).stdout == "True\n"
    async with asyncio.timeout(30):
        while first in zygotes.shelters:
            await asyncio.sleep(0.01)
    assert (await perform(sandbox, *is_there)).stdout == "True\n"
    await sandbox.stop()
    assert [shelter.users for shelter in zygotes.shelters] == [0]
