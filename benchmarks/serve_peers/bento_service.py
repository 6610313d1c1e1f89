# Runs in an environment of its own, whose packages are not here.
# mypy: ignore-errors
"""BentoML, as its documentation shows it. `MODEL` is the ONNX file."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=int(os.environ["WORKERS"]))
class Net:
    """One session a worker."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api
    def infer(self, inputs: list[dict]) -> dict:
        """Answer JSON with JSON."""
        item = inputs[0]
        array = np.asarray(item["data"], np.float32).reshape(item["shape"])
        found = self.session.run(None, {"input": array})[0]
        return {"outputs": [{"name": "logits", "shape": list(found.shape), "data": found.ravel().tolist()}]}
