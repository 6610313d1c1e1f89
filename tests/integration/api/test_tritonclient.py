"""NVIDIA's own client of the Open Inference Protocol, unchanged, against a real model."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from inference_site import InferenceSite, inference_site

__all__ = ["inference_site"]

PACKAGES = ("tritonclient[http]==2.73.0", "numpy==2.4.6")

CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

address, model, token = sys.argv[1:4]
client = http.InferenceServerClient(address)
# The client adds to the headers that it is given.
headers = {"Authorization": f"Bearer {token}"} if token else {}
said = {
    "live": client.is_server_live(headers=dict(headers)),
    "ready": client.is_server_ready(headers=dict(headers)),
    "model_ready": client.is_model_ready(model, headers=dict(headers)),
    "server": client.get_server_metadata(headers=dict(headers))["extensions"],
    "metadata": client.get_model_metadata(model, headers=dict(headers)),
    "sums": [],
}

def given(values, binary):
    array = np.array([values], np.float32)
    made = http.InferInput("a", array.shape, "FP32"), http.InferInput("b", array.shape, "FP32")
    for item in made:
        item.set_data_from_numpy(array, binary_data=binary)
    return list(made)

for binary in (True, False):
    for outputs in (None, [http.InferRequestedOutput("sum", binary_data=True)],
                    [http.InferRequestedOutput("sum", binary_data=False)]):
        for packed in (None, "gzip", "deflate"):
            values = [1.5, -2.0, 40.0] * 2000
            answer = client.infer(
                model, given(values, binary), outputs=outputs, request_id="7", headers=dict(headers),
                request_compression_algorithm=packed, response_compression_algorithm=packed)
            assert answer.get_response()["id"] == "7"
            found = answer.as_numpy("sum")
            said["sums"].append([found.dtype.name, list(found.shape), found[0, :3].tolist()])
try:
    client.infer(model, given([1.0], True)[:1], headers=dict(headers))
except InferenceServerException as error:
    said["refused"] = [error.status(), error.message()]
asked = client.async_infer(model, given([1.0], True), headers=dict(headers))
said["async"] = asked.get_result().as_numpy("sum").tolist()
print(json.dumps(said))
"""


@pytest.fixture(scope="session")
def client_environment() -> Path:
    """A folder with the client, made once on this machine and kept between test runs."""
    key = hashlib.sha256("\n".join((*PACKAGES, sys.version)).encode()).hexdigest()[:16]
    root = Path(tempfile.gettempdir(), f"vitrine-test-environments-{os.getuid()}")
    root.mkdir(mode=0o755, exist_ok=True)
    made = root / f"triton-{key}"
    with (root / f"triton-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            draft = made.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
            assert uv, "uv belongs to the development group"
            found = {"UV_FIND_LINKS": links} if (links := os.environ.get("PIP_FIND_LINKS")) else {}
            install = [uv, "pip", "install", "--quiet", "--python", sys.executable]
            subprocess.run([*install, "--target", draft, *PACKAGES], check=True, env={**os.environ, **found})
            draft.rename(made)
    return made


async def run(environment: Path, *arguments: str, program: str = CLIENT) -> dict[str, Any]:
    """Run the client as a program of its own: it brings an event loop of another kind."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        env={**os.environ, "PYTHONPATH": str(environment)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    return dict(json.loads(output))


async def test_the_client_works_for_accounts_and_links(
    inference_site: InferenceSite, client_environment: Path
) -> None:
    site = inference_site
    await site.start_runner()
    ann = await site.api.account()
    await site.version(ann, "sum")
    link = await ann.share(f"{ann.name}/sum@1")
    host = site.api.url.removeprefix("http://")
    for address, model, token, name in (
        (host, f"{ann.name}~sum", ann.token, f"{ann.name}~sum"),
        (host, f"{ann.name}/sum", ann.token, f"{ann.name}~sum"),
        (f"{host}/s/{link['token']}", "model", "", "model"),
    ):
        said = await run(client_environment, address, model, token)
        assert (said["live"], said["ready"], said["model_ready"]) == (True, True, True)
        assert said["server"] == ["binary_tensor_data"]
        assert said["metadata"]["name"] == name
        assert said["metadata"]["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [1, -1]}
        assert said["sums"] == [["float32", [1, 6000], [3.0, -4.0, 80.0]]] * 18
        assert said["async"] == [[2.0]]
        status, message = said["refused"]
        assert status == "400"
        assert "input `b` is missing" in message


PROGRAM_CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

address, model, token = sys.argv[1:4]
client = http.InferenceServerClient(address)
headers = {"Authorization": f"Bearer {token}"} if token else {}

def tensor(name, kind, value, binary):
    made = http.InferInput(name, [1], kind)
    array = np.array([value], {"BYTES": object, "INT64": np.int64}[kind])
    made.set_data_from_numpy(array, binary_data=binary)
    return made

said = {"metadata": client.get_model_metadata(model, headers=dict(headers)), "answers": []}
data = bytes(range(256))
for binary in (True, False):
    answer = client.infer(model, [
        tensor("word", "BYTES", "g\u00fc", binary), tensor("times", "INT64", 3, binary),
        tensor("data", "BYTES", data, True),
    ], headers=dict(headers))
    file = answer.get_output("reversed")
    said["answers"].append([
        answer.as_numpy("said")[0].decode(), answer.as_numpy("count").tolist(),
        bytes(answer.as_numpy("reversed")[0]) == data[::-1], file["parameters"]["name"],
    ])
try:
    client.infer(model, [tensor("word", "BYTES", "fail", True)], headers=dict(headers))
except InferenceServerException as error:
    said["failed"] = [error.status(), error.message()]
print(json.dumps(said))
"""

PREDICTOR = b"""
from collections.abc import Iterator
from pathlib import Path

class Predictor:
    def predict(self, word: str, times: int = 1, data: Path | None = None):
        if word == "fail":
            raise ValueError("this word is not liked")
        made = Path("/tmp/reversed.bin")
        made.write_bytes(data.read_bytes()[::-1])
        return {"said": word * times, "count": float(times), "reversed": made}
"""


async def test_the_client_runs_a_predictor(inference_site: InferenceSite, client_environment: Path) -> None:
    site = inference_site
    if not site.runners:
        await site.start_runner()
    ann = await site.api.account()
    described = {
        "name": "speaker",
        "predictor": "predict.py:Predictor",
        "inputs": [
            {"name": "word", "type": "text"},
            {"name": "times", "type": "number", "integer": True, "default": 1},
            {"name": "data", "type": "file", "required": False},
        ],
        "outputs": [
            {"name": "said", "type": "text"},
            {"name": "count", "type": "number"},
            {"name": "reversed", "type": "file"},
        ],
    }
    await site.push(ann, {"predict.py": PREDICTOR}, described)
    link = await ann.share(f"{ann.name}/speaker@1", blind=True)
    host = site.api.url.removeprefix("http://")
    for address, model, token in (
        (host, f"{ann.name}~speaker", ann.token),
        (f"{host}/s/{link['token']}", "model", ""),
    ):
        said = await run(client_environment, address, model, token, program=PROGRAM_CLIENT)
        assert said["metadata"]["inputs"][1] == {"name": "times", "datatype": "INT64", "shape": [1]}
        name = "reversed.bin" if token else said["answers"][0][3]
        assert said["answers"] == [["g\u00fcg\u00fcg\u00fc", [3.0], True, name]] * 2
        assert said["failed"][0] == "422"
        assert "this word is not liked" in said["failed"][1]
