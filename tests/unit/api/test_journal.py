"""The journal of calls: what was appended survives a kill, half a line is nothing, the living are let be."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine_api.inference.journal import Journal
from vitrine_common.clock import utcnow
from vitrine_common.documents import CallOutcome, RunRequest
from vitrine_common.errors import Unavailable
from vitrine_common.ids import new_id
from vitrine_common.states import RunState


def request() -> RunRequest:
    now = utcnow()
    return RunRequest(
        id=new_id("run"),
        version_id="version_1",
        version_digest="sha256:1",
        environment_digest="sha256:2",
        owner_id="user_1",
        inputs="{}",
        expires_at=now,
        call=CallOutcome(state=RunState.SUCCEEDED, finished_at=now),
    )


def line_of(call: RunRequest) -> bytes:
    return call.model_dump_json(by_alias=True).encode()


KILLED = """
import os, signal, sys
from pathlib import Path
from vitrine_api.inference.journal import Journal
journal = Journal(Path(sys.argv[1]), 60.0)
journal.open()
for line in sys.stdin:
    journal.append(line.strip().encode())
print("written", flush=True)
signal.pause()
"""


def test_a_killed_process_loses_nothing_and_a_living_one_keeps_its_segment(tmp_path: Path) -> None:
    requests = [request() for _ in range(20)]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(item.model_dump_json(by_alias=True) + "\n" for item in requests))
    process.stdin.close()
    assert process.stdout.readline() == "written\n"

    first = Journal(tmp_path, 60.0)
    assert first.open() == []  # it lives
    process.kill()
    process.wait()
    process.stdout.close()
    (path,) = [path for path in tmp_path.iterdir() if path.stat().st_size]
    with path.open("ab") as file:
        file.write(b'{"_id": "run_torn", "vers')
    second = Journal(tmp_path, 60.0)
    (segment,) = second.open()
    assert segment.requests() == requests
    segment.remove()
    assert Journal(tmp_path, 60.0).open() == []


def test_segments_turn_and_go(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 60.0)
    journal.open()
    assert journal.turn() is None
    one, two = request(), request()
    journal.append(line_of(one))
    segment = journal.turn()
    journal.append(line_of(two))
    assert segment is not None
    assert segment.requests() == [one]
    segment.remove()
    last = journal.close()
    assert last is not None
    assert last.requests() == [two]
    last.remove()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unavailable):
        journal.append(line_of(one))


async def test_every_answer_can_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = Journal(tmp_path, 0)
    journal.open()
    journal.append(line_of(request()))
    assert synced == []
    await journal.settled()
    assert len(synced) == 1
    await journal.settled()
    assert len(synced) == 1


def test_a_full_disk_refuses_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, 60.0)
    journal.open()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unavailable, match="cannot be written down"):
        journal.append(line_of(request()))
    assert journal.turn() is None


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="VITRINE_API_STATE_DIR"):
        Journal(tmp_path / "file" / "journal", 1.0).open()
