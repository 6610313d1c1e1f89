from __future__ import annotations

import struct

import pytest

from vitrine_harness import frames, seccomp


def test_a_frame_is_lengths_header_and_payload() -> None:
    packed = frames.pack({"is": "log"}, b"data")
    header, payload = frames.lengths(packed[:8])
    assert frames.parse_header(packed[8 : 8 + header]) == {"is": "log"}
    assert packed[8 + header :] == b"data"
    assert payload == 4


@pytest.mark.parametrize("prefix", [(0, 0), (1, 0), (frames.MAX_HEADER + 1, 0), (2, frames.MAX_PAYLOAD + 1)])
def test_lengths_out_of_bounds_are_refused(prefix: tuple[int, int]) -> None:
    with pytest.raises(frames.FrameError):
        frames.lengths(struct.pack("!II", *prefix))


def test_a_payload_beyond_the_limit_is_not_sent() -> None:
    with pytest.raises(frames.FrameError):
        frames.pack({}, bytes(frames.MAX_PAYLOAD + 1))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b'"x"', b"\xff", b"[" * 100_000])
def test_a_header_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.parse_header(text)


def decide(program: bytes, architecture: int, number: int, first: int = 0, second: int = 0) -> int:
    """Execute a filter as the kernel does and return its verdict."""
    data = struct.pack("=iIQQQ", number, architecture, 0, first, second)
    instructions = list(struct.iter_unpack("HBBI", program))
    value, place = 0, 0
    while True:
        code, when_true, when_false, operand = instructions[place]
        place += 1
        if code == seccomp.RETURN:
            return int(operand)
        if code == seccomp.LOAD_WORD:
            (value,) = struct.unpack_from("=I", data, operand)
            continue
        holds = {
            seccomp.JUMP_EQUAL: value == operand,
            seccomp.JUMP_AT_LEAST: value >= operand,
            seccomp.JUMP_BITS: bool(value & operand),
        }[code]
        place += when_true if holds else when_false


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_filter_of_each_architecture(machine: str) -> None:
    program = seccomp.tenant_filter(machine)
    assert program is not None
    column, architecture = list(seccomp.ARCHITECTURES).index(machine), seccomp.ARCHITECTURES[machine]
    denied = seccomp.ERRNO | 1
    for name, pair in seccomp.CALLS.items():
        number = pair[column]
        if number is not None:
            assert decide(program, architecture, number) == denied, name
    read, clone = (0, 63)[column], seccomp.CLONE[column]
    assert decide(program, architecture, read) == seccomp.ALLOW
    assert decide(program, architecture, clone, 17) == seccomp.ALLOW
    assert decide(program, architecture, clone, 0x10000000 | 17) == denied
    assert decide(program, architecture, seccomp.CLONE3[column]) == seccomp.ERRNO | 38
    assert decide(program, architecture, seccomp.SOCKET[column], 2) == seccomp.ALLOW
    assert decide(program, architecture, seccomp.SOCKET[column], 40) == seccomp.ERRNO | 97
    assert decide(program, architecture, seccomp.IOCTL[column], 0, 0x5412) == denied
    assert decide(program, architecture, seccomp.IOCTL[column], 0, 0x5401) == seccomp.ALLOW
    assert decide(program, 0x40000003, read) == seccomp.KILL


def test_the_32_bit_door_of_x86_is_shut() -> None:
    program = seccomp.tenant_filter("x86_64")
    assert program is not None
    assert decide(program, seccomp.ARCHITECTURES["x86_64"], seccomp.X32_BIT | 1) == seccomp.KILL


def test_an_unknown_architecture_has_no_filter() -> None:
    assert seccomp.tenant_filter("sparc64") is None
