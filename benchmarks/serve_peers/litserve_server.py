# Runs in an environment of its own, whose packages are not here.
# mypy: ignore-errors
"""LitServe, as its documentation shows it. `MODEL` is the ONNX file, `PORT` where it listens."""

import os

import litserve
import numpy as np
import onnxruntime


class Net(litserve.LitAPI):
    """One session a worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe names it
        """Load."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: dict) -> np.ndarray:
        """Read."""
        item = request["inputs"][0]
        return np.asarray(item["data"], np.float32).reshape(item["shape"])

    def predict(self, array: np.ndarray) -> np.ndarray:
        """Compute."""
        return self.session.run(None, {"input": array})[0]

    def encode_response(self, found: np.ndarray) -> dict:
        """Write."""
        return {"outputs": [{"name": "logits", "shape": found.shape, "data": found.ravel().tolist()}]}


if __name__ == "__main__":
    server = litserve.LitServer(Net(), accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]))
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="error")
