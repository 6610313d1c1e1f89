"""How large an ONNX model's weights are where they lie in files of their own."""

from __future__ import annotations

from pathlib import Path

from vitrine_harness import onnx


def entry(key: bytes, value: bytes) -> bytes:
    """A StringStringEntryProto, as `external_data` holds them."""
    return b"\n" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value


def model(path: Path, *locations: bytes) -> str:
    tensors = b"".join(
        b"j\x20" + entry(b"location", name) + b"j" + bytes([number]) + entry(b"offset", b"%d" % number)
        for number, name in enumerate(locations)
    )
    path.write_bytes(b"\x08\x08:\x40" + tensors)
    return str(path)


def test_each_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/more.bin").write_bytes(bytes(10))
    path = model(tmp_path / "m.onnx", b"weights.bin", b"weights.bin", b"deep/more.bin")
    assert onnx.external_bytes(path) == 1010


def test_a_model_that_holds_its_weights_has_none_outside(tmp_path: Path) -> None:
    assert onnx.external_bytes(model(tmp_path / "m.onnx")) == 0


def test_names_that_lead_nowhere_count_nothing(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", b"gone.bin", b".", b"\xff\xfe", b"a\0b")
    assert onnx.external_bytes(path) == 0
