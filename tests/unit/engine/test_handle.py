"""Processes are put under limits by handles, which never mean another process, nor the service itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vitrine_engine.process.cgroups import Group
from vitrine_engine.process.handle import Handle


@pytest.mark.parametrize("pid", [0, -1])
def test_no_number_means_the_service_itself_or_many(pid: int) -> None:
    with pytest.raises(ProcessLookupError, match="no process of a sandbox"):
        Handle(pid)


def test_who_has_ended_joins_no_group(tmp_path: Path) -> None:
    group = Group(2, {"pids": tmp_path})
    with subprocess.Popen(["sleep", "600"]) as program:
        process = Handle(program.pid)
        assert not process.has_ended
        group.admit(process)
        assert (tmp_path / "cgroup.procs").read_text() == str(program.pid)
        (tmp_path / "cgroup.procs").unlink()
        program.kill()
    assert process.has_ended
    with pytest.raises(ProcessLookupError, match="has ended"):
        group.admit(process)
    assert not list(tmp_path.iterdir())
    process.close()
    process.close()
