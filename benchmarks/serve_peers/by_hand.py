# Runs in an environment of its own, whose packages are not here.
# mypy: ignore-errors
"""FastAPI by hand: the Open Inference Protocol's JSON, and raw bytes. `MODEL` is the ONNX file."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


@app.post("/json")
def as_json(body: dict) -> dict:
    """Answer JSON with JSON."""
    item = body["inputs"][0]
    array = np.asarray(item["data"], np.float32).reshape(item["shape"])
    (found,) = session.run(None, {"input": array})
    return {
        "outputs": [
            {"name": "logits", "shape": found.shape, "datatype": "FP32", "data": found.ravel().tolist()}
        ]
    }


@app.post("/raw")
async def as_bytes(request: Request) -> Response:
    """Answer bytes with bytes."""
    array = np.frombuffer(await request.body(), np.float32).reshape(-1, 3, 32, 32)
    (found,) = await run_in_threadpool(session.run, None, {"input": array})
    return Response(found.tobytes(), media_type="application/octet-stream")
