# Runs in an environment of its own, whose packages are not here.
# mypy: ignore-errors
"""A runtime for MLServer, as its documentation shows it. `MODEL` is the ONNX file."""

import os

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Net(MLModel):
    """One session a worker."""

    async def load(self) -> bool:
        """Load."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer."""
        array = NumpyCodec.decode_input(payload.inputs[0])
        found = self.session.run(None, {"input": array})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", found)])
