"""What an ONNX file takes and gives, read without any package of ONNX."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from onnx_bytes import field, model, tensor_info, weight
from vitrine_common.scan import scan_directory
from vitrine_common.signature.onnx import NotOnnx, interface, read_signature
from vitrine_common.spec import SpecError


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_names_types_shapes_and_files_of_weights(tmp_path: Path) -> None:
    data = model(
        inputs=[
            tensor_info("image", 1, ["batch", 3, 224, 224]),
            tensor_info("w", 1, [2]),
            tensor_info("k", 7, []),
        ],
        outputs=[tensor_info("scores", 11, None), field(1, "map") + field(2, field(5, b""))],
        weights=[weight("w", "big.data"), weight("v", "big.data"), weight("u", data=b"\0" * 5000)],
    )
    found = read_signature(written(tmp_path / "m.onnx", data))
    assert [(item.name, item.dtype, item.shape) for item in found.inputs] == [
        ("image", "float32", ("batch", 3, 224, 224)),
        ("k", "int64", ()),
    ]
    assert [(item.name, item.dtype, item.shape) for item in found.outputs] == [
        ("scores", "float64", None),
        ("map", None, None),
    ]
    assert found.external == ("big.data",)


def test_each_tensor_is_an_input_of_its_own(tmp_path: Path) -> None:
    data = model(
        inputs=[
            tensor_info("input.1", 1, ["n", 4]),
            tensor_info("input_1", 7, ["n", 1]),
            tensor_info("42", 8, [1]),
        ],
        outputs=[tensor_info("label", 7, [1]), tensor_info("p", 1, ["n", 3])],
    )
    told = interface(read_signature(written(tmp_path / "m.onnx", data)))
    assert told is not None
    assert [(item["name"], item["type"], item["tensor"]["name"]) for item in told[0]] == [
        ("input_1", "json", "input.1"),
        ("input_1_2", "number", "input_1"),
        ("tensor_42", "text", "42"),
    ]
    assert told[0][0]["description"] == "float32, n x 4."
    assert told[0][1]["integer"] is True
    assert [(item["name"], item["type"]) for item in told[1]] == [("label", "number"), ("p", "json")]


def test_a_directory_with_one_model_needs_nothing_else(tmp_path: Path) -> None:
    written(tmp_path / "net.onnx", model(weights=[weight("w", "net.onnx.data")]))
    with pytest.raises(SpecError, match=r"keeps weights in `net\.onnx\.data`, which is not in the bundle"):
        scan_directory(tmp_path)
    (tmp_path / "net.onnx.data").write_bytes(b"w")
    scan = scan_directory(tmp_path)
    assert [(item.name, item.type) for item in scan.spec.effective_inputs()] == [("x", "json")]
    assert [(item.name, item.type) for item in scan.spec.effective_outputs()] == [("y", "json")]
    assert {entry.path for entry in scan.manifest.files} == {"net.onnx", "net.onnx.data"}


def test_declared_inputs_come_before_the_signature(tmp_path: Path) -> None:
    written(tmp_path / "net.onnx", model())
    text = "name: n\nonnx: net.onnx\ninputs: {features: {type: json, tensor: x}}\n"
    (tmp_path / "vitrine.yaml").write_text(text)
    spec = scan_directory(tmp_path).spec
    assert [item.name for item in spec.effective_inputs()] == ["features"]
    assert [item.name for item in spec.effective_outputs()] == ["y"]


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"",
        b"\xff" * 100,
        field(7, b"\x0a\xff\xff\xff\xff\x0f"),
        field(1, 8),
        model(outputs=[]),
        b"PK\x03\x04" * 9,
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(NotOnnx):
        read_signature(written(tmp_path / "m.onnx", data))


def test_damaged_models_are_refused_or_read_and_nothing_else(tmp_path: Path) -> None:
    data = model(weights=[weight("w", "big.data"), weight("v", data=b"\1" * 64)])
    dice = random.Random(5)
    path = tmp_path / "m.onnx"
    for _ in range(300):
        damaged = bytearray(data[: dice.randrange(1, len(data))] if dice.random() < 0.5 else data)
        for _ in range(3):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            read_signature(path)
        except NotOnnx:
            continue
