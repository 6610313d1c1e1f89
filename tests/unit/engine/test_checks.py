from __future__ import annotations

import pytest

from vitrine_engine import checks
from vitrine_engine.checks import ViolationError
from vitrine_engine.process.bubblewrap import command, libraries
from vitrine_engine.process.engine import available_ids
from vitrine_engine.process.layout import Layout
from vitrine_engine.protocol import Bind, InputFile, RunRequest, SandboxSpec, StartError
from vitrine_engine.run import variables


@pytest.mark.parametrize("name", ["a", "a/b.txt", "..a/b..", "ä/漢", "a b"])
def test_names_below_the_working_directory_pass(name: str) -> None:
    assert checks.relative_path(name) == name


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/../b", "..", ".", "a/.", "a/", None, 3, "x" * 5000])
def test_other_names_do_not(name: object) -> None:
    with pytest.raises(ViolationError):
        checks.relative_path(name)


def test_what_cannot_be_shown_is_replaced() -> None:
    assert checks.relative_path("a\nb\udcff\x1b") == "a\ufffdb\ufffd\ufffd"


@pytest.mark.parametrize("value", [-1, 11, True, 1.0, "1", None])
def test_sizes_are_whole_and_bounded(value: object) -> None:
    with pytest.raises(ViolationError):
        checks.whole(value, most=10)
    assert checks.whole(10, most=10) == 10


def test_variables_of_a_request() -> None:
    request = RunRequest(
        id="r",
        values={"prompt": "a b", "top-k": 3, "none": None},
        files=(InputFile(name="image", source=b"", destination="in/x.png"), InputFile(name="y", source=b"")),
        traceparent="00-1",
        env={"VITRINE_INPUT_PROMPT": "own"},
    )
    assert variables(request) == {
        "VITRINE_INPUT_IMAGE": "in/x.png",
        "VITRINE_INPUT_PROMPT": "own",
        "VITRINE_INPUT_TOP_K": "3",
        "TRACEPARENT": "00-1",
    }


def test_host_users_come_from_what_the_namespace_has() -> None:
    first, count = available_ids("         0          0 4294967295\n")
    assert first > 1 << 29
    assert first + count < 1 << 31
    assert available_ids("0 100000 65536\n") == (32768, 32767)
    with pytest.raises(StartError, match="plain user"):
        available_ids("0 1000 1\n")


def test_the_launcher_shows_binds_and_keeps_the_root_read_only(layout: Layout) -> None:
    bind = Bind(source=layout.root, target="/data", writable=True)
    argv = command(SandboxSpec(id="a", binds=(bind,)), layout, bwrap="bwrap", descriptor=9, as_root=False)
    text = " ".join(argv)
    assert f"--bind {layout.root} /data" in text
    assert f"--ro-bind {layout.bare} /env" in text
    assert "--remount-ro / --chdir / --" in text
    assert "--unshare-user" in argv
    assert "--cap-add" not in argv
    assert argv[-1].endswith("main(9)")
    assert "--cap-drop ALL" in " ".join(
        command(SandboxSpec(id="a"), layout, bwrap="bwrap", descriptor=9, as_root=True)
    )


def test_a_gpu_brings_the_drivers_directory(layout: Layout) -> None:
    assert "/vitrine/driver" in libraries(SandboxSpec(id="a", gpu=True))
    assert "/vitrine/driver" not in libraries(SandboxSpec(id="a"))
