"""A cell that is made before its run has come: used once, by one run, and gone when nobody comes."""

from __future__ import annotations

import asyncio
import os
import select
import signal

import pytest

from sandboxes import perform, python
from vitrine_engine import InputFile, OutputSpec, Sandbox
from vitrine_engine.process import verifying, zygote
from vitrine_engine.process.handle import Handle
from vitrine_engine.process.meter import children, descendants
from vitrine_engine.process.nest import Nest
from vitrine_engine.process.nests import Shelter
from vitrine_engine.process.packets import Door, Packet
from vitrine_engine.process.sandbox import ProcessSandbox
from vitrine_engine.process.zygote import CellGoneError
from zygotes import ZygoteBench

IS_FORK = "import sys; print('numpy' in sys.modules)"
FILES = {"run.py": "import numpy\n", "is_fork.py": IS_FORK}
ALONE = 2
"""Processes of a nest without cells, but for the zygote: launcher and supervisor."""


async def expecting(zygotes: ZygoteBench, *argv: str) -> ProcessSandbox:
    """Return a sandbox with a cell made ahead."""
    environment = zygotes.environment({"numpy": "x = 1\n"})
    sandbox = await zygotes.script(environment, FILES, argv=argv)
    await sandbox.expect_run()
    assert isinstance(sandbox, ProcessSandbox)
    await processes(zygotes, more=True)
    return sandbox


def in_cells(zygotes: ZygoteBench) -> set[int]:
    (shelter,) = zygotes.shelters
    forker = shelter.ready_zygote
    assert forker is not None
    found = set(descendants(shelter.starting.result().pid))
    forks = set(descendants(forker.pid))
    return found - forks | (forks - {forker.pid})


async def processes(zygotes: ZygoteBench, *, more: bool) -> set[int]:
    """Wait until there are processes of a cell in the nest, or none."""
    async with asyncio.timeout(20):
        while (len(in_cells(zygotes)) > ALONE) is not more:
            await asyncio.sleep(0.01)
    return in_cells(zygotes)


async def forks(sandbox: Sandbox) -> str:
    ran = await perform(sandbox, "python", "is_fork.py")
    assert ran.outcome.reason is None, ran.outcome.message
    return ran.stdout


async def test_the_run_takes_place_in_the_cell_that_waits(zygotes: ZygoteBench) -> None:
    sandbox = await expecting(zygotes, "python", "run.py")
    before = (await sandbox.usage()).processes
    async with asyncio.timeout(20):  # its init, the fork, and who waits for it
        while (await sandbox.usage()).processes < 2:
            await asyncio.sleep(0.01)
    assert before <= 2
    ran = await perform(
        sandbox,
        *python("print(open('given.txt').read()); open('out.txt', 'w').write('left')"),
        files=(InputFile(name="given", source=b"an input", destination="given.txt"),),
        outputs=(OutputSpec(pattern="out.txt", name="out", required=True),),
    )
    assert (ran.stdout, ran.files) == ("an input\n", {"out.txt": b"left"})
    assert await processes(zygotes, more=False)
    # The next one has a cell of its own: nothing is left of the first.
    assert (await perform(sandbox, *python("import os; print(os.listdir('.'))"))).stdout.count("out") == 0


@pytest.mark.parametrize("known", [("python", "run.py"), ()])
async def test_forks_are_forks_and_other_programs_themselves(
    zygotes: ZygoteBench, known: tuple[str, ...]
) -> None:
    sandbox = await expecting(zygotes, *known)
    assert await forks(sandbox) == "True\n"
    await sandbox.expect_run()
    ran = await perform(sandbox, "sh", "-c", "python is_fork.py; echo $0")
    assert (ran.stdout, ran.outcome.reason) == ("True\nsh\n", None)
    await sandbox.expect_run()
    ran = await perform(sandbox, "python", "is_fork.py", env={"PYTHONHASHSEED": "1"})
    assert (ran.stdout, ran.outcome.reason) == ("False\n", None)


async def test_nobody_comes_and_nothing_is_left(
    zygotes: ZygoteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine_engine.process.ahead.KEPT_SECONDS", 1.0)
    sandbox = await expecting(zygotes, "python", "run.py")
    await processes(zygotes, more=False)
    assert (await sandbox.usage()).processes == 0
    assert await forks(sandbox) == "True\n"


async def test_one_waits_at_a_time(zygotes: ZygoteBench) -> None:
    sandbox = await expecting(zygotes)
    before = await processes(zygotes, more=True)
    await asyncio.gather(*(sandbox.expect_run() for _ in range(5)))
    assert {pid for pid in in_cells(zygotes) if pid in before} == before


async def test_a_cell_that_is_killed_while_it_waits_costs_no_run(zygotes: ZygoteBench) -> None:
    sandbox = await expecting(zygotes, "python", "run.py")
    (cell,) = sandbox._ahead.cells
    async with asyncio.timeout(20):
        while len(cell.pids) < 2:
            await asyncio.sleep(0.01)
    os.kill(cell.pids[0], signal.SIGKILL)
    await cell.wait_gone()
    assert await forks(sandbox) == "True\n"


async def test_a_cell_that_dies_while_its_fork_is_made_costs_no_zygote(
    zygotes: ZygoteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = zygotes.environment({"numpy": "x = 1\n"})
    sandbox = await zygotes.script(environment, FILES, argv=("python", "run.py"))
    assert isinstance(sandbox, ProcessSandbox)
    check = verifying.check_placed

    def gone(pid: int, expected: verifying.Expected) -> None:
        monkeypatch.setattr(verifying, "check_placed", check)
        (cell,) = sandbox._ahead.cells
        for process in (cell.pids[0], pid):
            descriptor = os.pidfd_open(process)
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], 20)
            os.close(descriptor)
        check(pid, expected)

    monkeypatch.setattr(verifying, "check_placed", gone)
    await sandbox.expect_run()
    (cell,) = sandbox._ahead.cells
    await cell.wait_gone()
    (shelter,) = zygotes.shelters
    assert await forks(sandbox) == "True\n"
    assert shelter.ready_zygote is not None


async def test_a_cell_that_has_died_is_forked_for_no_more(zygotes: ZygoteBench) -> None:
    sandbox = await zygotes.script(zygotes.environment({"numpy": ""}), FILES, argv=("python", "run.py"))
    (shelter,) = zygotes.shelters
    found = shelter.ready_zygote
    assert found is not None
    program = await asyncio.create_subprocess_exec("sleep", "600")
    init = Handle(program.pid)
    program.kill()
    await program.wait()
    made = found.made
    with pytest.raises(CellGoneError):
        await shelter.fork(init, Packet({"descriptors": []}, 0), no_admission)
    init.close()
    assert found.made == made
    assert found.alive
    assert await forks(sandbox) == "True\n"


async def no_admission(process: Handle) -> None:
    raise AssertionError(f"{process.pid} is admitted")


async def test_a_cell_that_is_dropped_while_the_zygote_is_asked_leaves_it_as_it_was(
    zygotes: ZygoteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = zygotes.environment({"numpy": "x = 1\n"})
    sandbox = await zygotes.script(environment, FILES, argv=("python", "run.py"))
    assert isinstance(sandbox, ProcessSandbox)
    (shelter,) = zygotes.shelters
    found = shelter.ready_zygote
    assert found is not None
    asked, hear = asyncio.Event(), zygote._hear

    async def heard(door: Door) -> Packet:
        asked.set()
        return await hear(door)

    monkeypatch.setattr(zygote, "_hear", heard)
    os.kill(found.pid, signal.SIGSTOP)
    await sandbox.expect_run()
    (cell,) = sandbox._ahead.cells
    await asked.wait()
    dropped = asyncio.ensure_future(sandbox._ahead.aclose())
    await cell.wait_gone()
    os.kill(found.pid, signal.SIGCONT)
    await dropped
    # The fork that it was asked for is known, or has ended.
    assert set(children(found.pid)) <= found._forks
    assert await forks(sandbox) == "True\n"
    assert shelter.ready_zygote is found


async def test_a_sandbox_that_stops_takes_its_cell_along(zygotes: ZygoteBench) -> None:
    sandbox = await expecting(zygotes, "python", "run.py")
    await sandbox.stop()
    await processes(zygotes, more=False)
    await sandbox.expect_run()
    assert len(in_cells(zygotes)) == ALONE


def retire(zygotes: ZygoteBench) -> Shelter:
    """Have sandboxes move to a new nest, and return the one that they leave."""
    (shelter,) = zygotes.shelters
    shelter.retired = True
    zygotes.engine._shelters._current.clear()
    return shelter


async def test_a_sandbox_that_moves_goes_on_in_the_new_nest(zygotes: ZygoteBench) -> None:
    sandbox = await expecting(zygotes, "python", "run.py")
    before = retire(zygotes)
    await sandbox.expect_run()
    assert await forks(sandbox) == "True\n"
    assert (before.users, [shelter.users for shelter in zygotes.shelters]) == (0, [1])


async def test_a_sandbox_that_ends_while_it_moves_gives_both_nests_back(zygotes: ZygoteBench) -> None:
    sandbox = await expecting(zygotes, "python", "run.py")
    before = retire(zygotes)
    move, taken, stopped = sandbox._move, asyncio.Event(), asyncio.Event()

    async def moved() -> tuple[Shelter, Nest]:
        found = await move()
        taken.set()
        await stopped.wait()
        return found

    sandbox._move = moved
    moving = asyncio.ensure_future(sandbox.expect_run())
    await taken.wait()
    await sandbox.stop()
    stopped.set()
    await moving
    assert (before.users, [shelter.users for shelter in zygotes.shelters]) == (0, [0])


async def test_a_sandbox_that_has_ended_moves_nowhere(zygotes: ZygoteBench) -> None:
    sandbox = await expecting(zygotes, "python", "run.py")
    before = retire(zygotes)
    await sandbox.stop()
    await sandbox.expect_run()
    assert before.users == 0
    assert not [shelter for shelter in zygotes.shelters if shelter.users]
