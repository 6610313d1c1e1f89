"""Temporary folders that die with their maker, and children that die with their caller."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.process import Bounds, ProcessTimeout, run_process
from vitrine_builder.workspace import open_workspace
from vitrine_common import drafts
from vitrine_common.drafts import has_living, own_drafts, publish, sweep_drafts

HOLDER = """
import sys
from pathlib import Path
from vitrine_builder.workspace import open_workspace
with open_workspace(Path(sys.argv[1])) as workspace, workspace.draft() as draft:
    (draft / "half").write_text("half")
    print(draft, flush=True)
    sys.stdin.read()
"""


def start_holder(root: Path) -> tuple[subprocess.Popen[str], Path]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    return holder, Path(holder.stdout.readline().strip())


def test_drafts_that_go_while_others_are_swept_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".builder/drafts"
    for name in ("fetch_one", "fetch_two"):
        (folder / name).mkdir(parents=True)

    def remove_all(_first: Path) -> None:
        for each in folder.glob("fetch_*"):
            shutil.rmtree(each)

    monkeypatch.setattr(drafts, "remove_tree", remove_all)
    sweep_drafts(tmp_path)
    assert list(folder.glob("fetch_*")) == []


def test_who_lives_is_told_by_its_drafts(tmp_path: Path) -> None:
    assert not has_living(tmp_path, "builder")
    with own_drafts(tmp_path, "builder"):
        assert has_living(tmp_path, "builder")
        assert not has_living(tmp_path, "fetch")
    (tmp_path / ".builder/drafts/builder_dead").mkdir()
    assert not has_living(tmp_path, "builder")


def test_drafts_of_a_killed_builder_are_swept_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    living, kept = start_holder(tmp_path)
    dead, left = start_holder(tmp_path)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    assert (left / "half").exists()
    with open_workspace(tmp_path):
        assert not left.parent.exists()
        assert (kept / "half").exists()
    living.communicate("")
    assert living.returncode == 0
    assert not kept.exists()


def test_publishing_second_keeps_the_first(tmp_path: Path) -> None:
    with open_workspace(tmp_path) as workspace:
        for content in ("first", "second"):
            with workspace.draft() as draft:
                (draft / "file").write_text(content)
                publish(draft, tmp_path / "place")
        assert (tmp_path / "place/file").read_text() == "first"
        assert [path.name for path in workspace.drafts.iterdir()] == ["lock"]


def test_too_little_space_is_said_before_work_begins(tmp_path: Path) -> None:
    with open_workspace(tmp_path) as workspace:
        workspace.require_space(1)
        with pytest.raises(BuildFailure, match="are kept free") as caught:
            workspace.require_space(1 << 62)
    assert caught.value.reason is FailureReason.DISK_FULL


async def run(script: str, tmp_path: Path, bounds: Bounds, stdin: bytes = b"") -> tuple[int, bytes, str]:
    finished = await run_process(
        ["/bin/sh", "-c", script], bounds=bounds, environment={}, directory=tmp_path, stdin=stdin
    )
    return finished.returncode, finished.stdout, finished.stderr


async def test_a_child_gets_only_what_it_is_given(tmp_path: Path) -> None:
    os.environ["VITRINE_TEST_SECRET"] = "secret"
    try:
        script = 'cat; pwd; echo "${VITRINE_TEST_SECRET-none}" >&2; exit 3'
        answer = await run(script, tmp_path, Bounds(20), b"in\n")
    finally:
        del os.environ["VITRINE_TEST_SECRET"]
    assert answer == (3, f"in\n{tmp_path}\n".encode(), "none")


async def test_a_child_that_takes_too_long_is_killed_with_its_own_children(tmp_path: Path) -> None:
    with pytest.raises(ProcessTimeout):
        await run("sleep 60 & echo $! > pid; wait", tmp_path, Bounds(0.5))
    await gone(int((tmp_path / "pid").read_text()))


async def test_cancelling_kills_the_child(tmp_path: Path) -> None:
    task = asyncio.create_task(run("sleep 60 & echo $! > draft; mv draft pid; wait", tmp_path, Bounds(60)))
    await eventually((tmp_path / "pid").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(int((tmp_path / "pid").read_text()))


async def test_a_file_over_the_limit_ends_the_child(tmp_path: Path) -> None:
    script = "sleep 0.2; exec head -c 100000 /dev/zero > big"
    returncode, _, _ = await run(script, tmp_path, Bounds(20, file_bytes=1000))
    assert returncode == -signal.SIGXFSZ
    assert (tmp_path / "big").stat().st_size <= 1000


async def test_endless_output_does_not_fill_memory(tmp_path: Path) -> None:
    script = "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo end >&2"
    _, _, stderr = await run(script, tmp_path, Bounds(20))
    assert len(stderr) <= 8_000


async def gone(pid: int) -> None:
    """Wait until the process is; an orphan is reaped by init, in its own time."""
    await eventually(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    )


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")
