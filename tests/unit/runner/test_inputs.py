"""From the values of a request to what an engine runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from runner_doubles import BlobsDouble
from vitrine_common.blobs import BlobStore
from vitrine_common.states import Reason
from vitrine_engine import RunRequest
from vitrine_runner.bundles import Bundles
from vitrine_runner.errors import RunFault
from vitrine_runner.inputs import IN_MEMORY_BYTES, InputReader

from .conftest import Push


@pytest.fixture
def read(push: Push, make_bundles: Callable[..., Bundles], blobs: BlobsDouble, tmp_path: Path) -> Any:
    async def read(spec: dict[str, Any], inputs: object) -> RunRequest:
        reader = InputReader("run_1", cast("BlobStore", blobs), tmp_path / "run", "00-trace")
        async with make_bundles().held(await push(spec, {"main.py": b"1", "m.onnx": b"2"})) as bundle:
            return await reader.request(bundle, json.dumps(inputs))

    return read


async def uploaded(blobs: BlobsDouble, data: bytes) -> dict[str, Any]:
    digest = await blobs.put_bytes(data)
    return {"digest": digest, "size": len(data), "media_type": "image/png", "filename": "../../x.png"}


async def test_flags_and_files_of_a_script(read: Any, blobs: BlobsDouble) -> None:
    spec = {
        "inputs": {"prompt": {"type": "text", "flag": True}, "picture": "image"},
        "outputs": {"drawn": {"type": "image", "path": "out/*.png"}, "said": "text"},
    }
    request = await read(spec, {"prompt": "-rf", "picture": await uploaded(blobs, b"png")})
    assert request.argv == ("python", "main.py", "--prompt=-rf")
    (file,) = request.files
    assert (file.name, file.source, file.destination) == ("picture", b"png", "inputs/picture.png")
    assert request.env["VITRINE_INPUT_PROMPT"] == "-rf"
    assert [(item.name, item.pattern) for item in request.outputs] == [("drawn", "out/*.png")]
    assert request.traceparent == "00-trace"


async def test_large_files_go_by_the_runs_folder(read: Any, blobs: BlobsDouble) -> None:
    data = bytes(IN_MEMORY_BYTES + 1)
    request = await read({"inputs": {"picture": "image"}}, {"picture": await uploaded(blobs, data)})
    (file,) = request.files
    assert isinstance(file.source, Path)
    assert file.source.read_bytes() == data


async def test_values_and_files_of_an_onnx_model(read: Any, blobs: BlobsDouble) -> None:
    spec = {"model": None, "onnx": "m.onnx", "inputs": {"picture": "image", "factor": "number"}}
    request = await read(spec, {"picture": await uploaded(blobs, b"png"), "factor": 2})
    assert request.argv == ()
    assert request.values == {"factor": 2}
    assert [(file.name, file.source, file.destination) for file in request.files] == [
        ("picture", b"png", "picture.png")
    ]


@pytest.mark.parametrize("inputs", [[1], "text", {"picture": {"digest": "no digest"}}])
async def test_what_does_not_fit_is_an_invalid_input(read: Any, inputs: object) -> None:
    with pytest.raises(RunFault) as caught:
        await read({"inputs": {"picture": "image"}}, inputs)
    assert caught.value.reason is Reason.INPUT_INVALID


async def test_a_file_that_is_gone_is_named(read: Any, blobs: BlobsDouble) -> None:
    value = await uploaded(blobs, b"png")
    blobs.blobs.clear()
    with pytest.raises(RunFault, match="`picture`") as caught:
        await read({"inputs": {"picture": "image"}}, {"picture": value})
    assert caught.value.reason is Reason.INPUT_INVALID
