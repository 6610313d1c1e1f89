"""ONNX models on a real runner."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from runner_site import Site, value_of
from vitrine_common.states import Reason, RunState

QUARTERS = {
    "onnx": "model.onnx",
    "inputs": {
        "picture": {
            "type": "image",
            "tensor": {"name": "image", "size": [8, 8], "mode": "L", "layout": "NCHW"},
        }
    },
    "outputs": {
        "place": {"type": "label", "tensor": {"name": "scores", "labels": ["a", "b", "c", "d"]}},
        "places": {"type": "labels", "tensor": {"name": "scores", "labels": ["a", "b", "c", "d"]}},
    },
    "resources": {"memory": "512Mi"},
}


async def test_a_picture_becomes_a_label_cold_and_warm(
    site: Site, onnx_digest: str, onnx_models: Path
) -> None:
    host = await site.start()
    digest = await site.push(QUARTERS, {"model.onnx": (onnx_models / "quarters.onnx").read_bytes()})
    picture = Image.new("L", (8, 8))
    picture.paste(255, (4, 0, 8, 4))
    drawn = io.BytesIO()
    picture.save(drawn, "PNG")
    inputs = {"picture": await site.upload(drawn.getvalue(), "image/png", "drawn.png")}

    cold = await site.run(digest, inputs, environment_digest=onnx_digest)
    pids = host.pids
    warm = await site.run(digest, inputs, environment_digest=onnx_digest)

    for run in (cold, warm):
        assert run.state is RunState.SUCCEEDED, run
        assert value_of(run, "place")["label"] == "b"
        assert value_of(run, "places")[0]["label"] == "b"
        assert [(output.name, output.type) for output in run.outputs] == [
            ("place", "label"),
            ("places", "labels"),
        ]
    assert (cold.cold, warm.cold) == (True, False)
    assert host.pids == pids


async def test_tensors_go_in_and_out_as_json(site: Site, onnx_digest: str, onnx_models: Path) -> None:
    await site.start()
    model = {"model.onnx": (onnx_models / "sum.onnx").read_bytes()}
    digest = await site.push({"onnx": "model.onnx", "resources": {"memory": "512Mi"}}, model)
    tensors = {"a": [[1.0, 2.0]], "b": [[10.0, 20.0]]}
    run = await site.run(digest, {"tensors": tensors}, environment_digest=onnx_digest)
    assert value_of(run, "tensors") == {"sum": [[11.0, 22.0]]}

    wrong = await site.run(digest, {"tensors": {"a": [["x"]]}}, environment_digest=onnx_digest)
    assert (wrong.state, wrong.reason) == (RunState.FAILED, Reason.INPUT_INVALID)


async def test_a_model_that_is_no_model_is_the_authors_error(site: Site, onnx_digest: str) -> None:
    await site.start()
    digest = await site.push({"onnx": "model.onnx"}, {"model.onnx": b"not a graph"})
    run = await site.run(digest, {"tensors": {}}, environment_digest=onnx_digest)
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, Reason.USER_ERROR, 1)
