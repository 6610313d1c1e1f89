"""What every engine promises about ONNX models: declared inputs in, declared outputs out, no user code."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sandboxes import SMALL, Bench, perform
from vitrine_engine import InputFile, LoadError, OnnxModel, Reason, Sandbox, Tensor

IMAGE = {
    "name": "image",
    "type": "image",
    "required": True,
    "tensor": {"name": "image", "size": [8, 8], "mode": "L", "layout": "NCHW", "scale": 1 / 255},
}
LABELS = ["top left", "top right", "bottom left", "bottom right"]
OUTPUTS = [
    {"name": "where", "type": "label", "tensor": {"labels": LABELS}},
    {
        "name": "bars",
        "type": "labels",
        "tensor": {"name": "scores", "labels": LABELS, "softmax": True, "top": 2},
    },
    {"name": "raw", "type": "json", "tensor": {"name": "scores"}},
    {"name": "position", "type": "number", "tensor": {"name": "scores", "argmax": True}},
]


def picture(size: tuple[int, int] = (16, 16), mode: str = "L", kind: str = "PNG") -> bytes:
    """A black picture whose upper right quarter is white."""
    image = Image.new("RGB", size, "black")
    image.paste((255, 255, 255), (size[0] // 2, 0, size[0], size[1] // 2))
    stream = io.BytesIO()
    image.convert(mode).save(stream, kind)
    return stream.getvalue()


def bomb(side: int) -> bytes:
    """A tiny PNG that announces side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = struct.pack("!IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


async def quarters(bench: Bench, environment: Path, models: Path) -> Sandbox:
    sandbox, _ = await bench.onnx(environment, models / "quarters.onnx", [IMAGE], OUTPUTS)
    return sandbox


async def test_loading_tells_the_signature(bench: Bench, onnx_environment: Path, onnx_models: Path) -> None:
    _, loaded = await bench.onnx(onnx_environment, onnx_models / "quarters.onnx", [IMAGE], OUTPUTS)
    assert loaded.kind == "onnx"
    (given,), (made,) = loaded.inputs, loaded.outputs
    assert (given.name, given.dtype, given.shape) == ("image", "float32", ("batch", 1, 8, 8))
    assert (made.name, made.shape) == ("scores", ("batch", 4))


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("RGB", "JPEG"), ("RGBA", "PNG"), ("P", "GIF")])
async def test_an_image_becomes_labels(
    bench: Bench, onnx_environment: Path, onnx_models: Path, mode: str, kind: str
) -> None:
    sandbox = await quarters(bench, onnx_environment, onnx_models)
    ran = await perform(sandbox, files=(InputFile(name="image", source=picture(mode=mode, kind=kind)),))
    assert ran.outcome.reason is None, ran.outcome.message
    label, bars = ran.values["where"], ran.values["bars"]
    assert (label["label"], label["index"]) == ("top right", 1)
    assert label["score"] == pytest.approx(1.0, abs=0.1)
    assert bars[0]["label"] == "top right"
    assert len(bars) == 2
    assert bars[0]["score"] == pytest.approx(0.475, abs=0.05)
    assert ran.values["position"] == 1
    assert len(ran.values["raw"][0]) == 4


async def test_runs_follow_each_other_also_after_a_failure(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    sandbox = await quarters(bench, onnx_environment, onnx_models)
    for source, reason in ((picture(), None), (b"junk", Reason.INPUT_INVALID), (picture((64, 64)), None)):
        ran = await perform(sandbox, files=(InputFile(name="image", source=source),))
        assert ran.outcome.reason is reason
        assert sandbox.alive


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"files": (InputFile(name="image", source=b""),)}, "input `image` is empty"),
        ({"files": (InputFile(name="image", source=b"GIF89a"),)}, "input `image` is"),
        ({"files": (InputFile(name="image", source=picture((64, 64), "RGB", "JPEG")[:-8]),)}, "damaged"),
        ({"files": (InputFile(name="image", source=bomb(30_000)),)}, "30000 x 30000 pixels"),
        ({}, "input `image` is missing"),
        ({"values": {"image": 3}}, "must be an image file"),
        ({"values": {"picture": 3}}, "no input `picture`; the inputs are image"),
    ],
    ids=["empty", "broken", "cut", "bomb", "missing", "a number", "unknown"],
)
async def test_a_bad_image_is_invalid_and_named(
    bench: Bench, onnx_environment: Path, onnx_models: Path, fields: dict[str, Any], message: str
) -> None:
    sandbox = await quarters(bench, onnx_environment, onnx_models)
    outcome = (await perform(sandbox, **fields)).outcome
    assert outcome.reason is Reason.INPUT_INVALID
    assert message in outcome.message


SUM_INPUTS: list[dict[str, Any]] = [
    {"name": "left", "type": "json", "tensor": {"name": "a"}},
    {"name": "right", "type": "number", "default": 1, "required": False, "tensor": None},
]
SUM_OUTPUTS = [{"name": "total", "type": "json", "tensor": {"name": "*"}}]


async def summing(
    bench: Bench, environment: Path, models: Path, inputs: list[dict[str, Any]] | None = None
) -> Sandbox:
    sandbox, _ = await bench.onnx(environment, models / "sum.onnx", inputs or SUM_INPUTS, SUM_OUTPUTS)
    return sandbox


async def test_values_become_tensors_by_name_and_position(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    sandbox = await summing(bench, onnx_environment, onnx_models)
    ran = await perform(sandbox, values={"left": [1, 2.5], "right": 2})
    assert ran.values == {"total": {"sum": [[3.0, 4.5]]}}
    assert (await perform(sandbox, values={"left": [1]})).values == {"total": {"sum": [[2.0]]}}


async def test_all_tensors_can_be_given_as_one_mapping(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    inputs = [{"name": "tensors", "type": "json", "tensor": {"name": "*"}}]
    sandbox = await summing(bench, onnx_environment, onnx_models, inputs)
    ran = await perform(sandbox, values={"tensors": {"a": [[1, 2]], "b": [[3, 4]]}})
    assert ran.values == {"total": {"sum": [[4.0, 6.0]]}}
    outcome = (await perform(sandbox, values={"tensors": {"a": [[1]], "c": [[1]]}})).outcome
    assert outcome.reason is Reason.INPUT_INVALID
    assert "names no tensor of the model: c" in outcome.message


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ("text", "input `left` is not a number"),
        ([[1], [2, 3]], "input `left` is not a number or an even nested list"),
        ([[[1]], [[2]]], "input `left` has the shape 2 x 1 x 1, but tensor a takes 1 x n"),
        ({"x": 1}, "input `left` is not"),
    ],
)
async def test_a_value_of_the_wrong_shape_is_invalid(
    bench: Bench, onnx_environment: Path, onnx_models: Path, left: Any, message: str
) -> None:
    sandbox = await summing(bench, onnx_environment, onnx_models)
    outcome = (await perform(sandbox, values={"left": left})).outcome
    assert outcome.reason is Reason.INPUT_INVALID
    assert message in outcome.message


async def test_raw_tensors_go_in_and_out(bench: Bench, onnx_environment: Path, onnx_models: Path) -> None:
    sandbox = await summing(bench, onnx_environment, onnx_models)
    data = struct.pack("<2f", 1, 2)
    tensor = Tensor(dtype="float32", shape=(1, 2), data=data)
    ran = await perform(sandbox, tensors={"a": tensor, "b": tensor})
    found = ran.tensors["sum"].tensor
    assert (found.dtype, found.shape, found.data) == ("float32", (1, 2), struct.pack("<2f", 2, 4))
    wrong = Tensor(dtype="float32", shape=(3,), data=data)
    assert (await perform(sandbox, tensors={"a": wrong, "b": tensor})).outcome.reason is Reason.INPUT_INVALID


async def test_a_model_that_eats_memory_is_out_of_memory(
    bench: Bench, onnx_environment: Path, onnx_models: Path
) -> None:
    inputs = [{"name": "count", "type": "number", "tensor": {"name": "shape"}}]
    outputs = [{"name": "total", "type": "number", "tensor": {}}]
    sandbox, _ = await bench.onnx(onnx_environment, onnx_models / "expand.onnx", inputs, outputs)
    assert (await perform(sandbox, values={"count": 5})).values == {"total": 5.0}
    outcome = (await perform(sandbox, values={"count": 400_000_000})).outcome
    assert outcome.reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("model.onnx", b"this is no model", "the ONNX file cannot be loaded"),
        ("missing.onnx", None, "the bundle has no file missing.onnx"),
    ],
)
async def test_a_bad_model_is_the_users_fault(
    bench: Bench, onnx_environment: Path, path: str, content: bytes | None, message: str
) -> None:
    bundle = bench.bundle({path: content} if content else {})
    sandbox = await bench.start(bundle=bundle, environment=onnx_environment)
    with pytest.raises(LoadError, match=message) as caught:
        await sandbox.load(OnnxModel(path=path))
    assert caught.value.reason is Reason.USER_ERROR
    assert not sandbox.alive


async def test_an_environment_without_the_runtime_is_named(bench: Bench, onnx_models: Path) -> None:
    bundle = bench.bundle({"model.onnx": (onnx_models / "sum.onnx").read_bytes()})
    sandbox = await bench.start(bundle=bundle, limits=SMALL)
    with pytest.raises(LoadError, match="add onnxruntime, numpy and pillow"):
        await sandbox.load(OnnxModel(path="model.onnx"))


async def test_a_model_outside_of_the_bundle_is_refused(bench: Bench) -> None:
    sandbox = await bench.start(bundle=bench.bundle({}))
    with pytest.raises(ValueError, match="path of the ONNX model"):
        await sandbox.load(OnnxModel(path="../../etc/passwd"))
