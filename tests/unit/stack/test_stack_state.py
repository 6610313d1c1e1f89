"""What the stack keeps in its data directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine.stack.errors import AlreadyRunningError, StackError
from vitrine.stack.logs import rotate, tail
from vitrine.stack.state import (
    DataLock,
    PartState,
    StackState,
    created_at,
    kill_leftovers,
    load_secrets,
    read_state,
    write_state,
)


def test_secrets_are_made_once_and_differ(tmp_path: Path) -> None:
    first = load_secrets(tmp_path / "a")
    assert load_secrets(tmp_path / "a") == first
    assert stat.S_IMODE((tmp_path / "a" / "secrets.json").stat().st_mode) == 0o600
    other = load_secrets(tmp_path / "b")
    assert not {first.nats_password, first.s3_secret_key, first.api_secret_key} & {
        other.nats_password,
        other.s3_secret_key,
        other.api_secret_key,
    }


def test_damaged_secrets_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(StackError, match=r"secrets\.json is damaged"):
        load_secrets(tmp_path)
    assert (tmp_path / "secrets.json").read_text() == "{"


def test_state_comes_back_and_damage_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    state = StackState(url="http://127.0.0.1:1", parts={"nats": PartState(kind="server", pid=7)})
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    (tmp_path / "stack.json").write_text("not json")
    assert read_state(tmp_path) is None


def test_lock_is_exclusive_and_names_its_holder(tmp_path: Path) -> None:
    lock, other = DataLock(tmp_path), DataLock(tmp_path)
    assert other.holder() is None
    lock.acquire()
    assert other.holder() == os.getpid()
    with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"):
        other.acquire()
    lock.release()
    assert other.holder() is None
    other.acquire()
    other.release()


def test_only_processes_of_the_stack_count_as_leftovers() -> None:
    """A pid that was used again belongs to somebody else: its start time differs."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    created = created_at(sleeper.pid)
    assert created is not None
    somebody_elses = PartState(kind="service", pid=sleeper.pid, created=created - 100)
    assert kill_leftovers(StackState(parts={"one": somebody_elses})) == []
    assert sleeper.poll() is None
    ours = PartState(kind="service", pid=sleeper.pid, created=created)
    assert kill_leftovers(StackState(parts={"one": ours})) == [sleeper.pid]
    assert sleeper.wait() < 0
    assert kill_leftovers(StackState(parts={"one": ours})) == []


def test_long_logs_are_set_aside_while_they_are_written(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"old line\n" * 10)
    assert rotate(tmp_path, limit=1000) == []
    assert rotate(tmp_path, limit=50) == [log]
    os.write(descriptor, b"new line\n")
    os.close(descriptor)
    assert log.read_bytes() == b"new line\n"
    assert (tmp_path / "api.log.1").read_bytes() == b"old line\n" * 10


def test_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert tail(log) == ""
    log.write_text("\n".join(map(str, range(10_000))))
    assert tail(log, 2) == "9998\n9999"
