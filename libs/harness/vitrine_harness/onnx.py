"""Serving an ONNX model: declared inputs to tensors, one session, tensors to declared outputs.

No user code exists here, but the model file is the author's and its parser is large: whoever calls `load` has
dropped every capability and filtered system calls, before the packages of the environment are imported.
"""

from __future__ import annotations

import os
import re
from typing import Any

from vitrine_harness import calls, images, results, tensors
from vitrine_harness.cell import BUNDLE
from vitrine_harness.executing import NoModelError
from vitrine_harness.frames import Channel
from vitrine_harness.jobs import Failed, Job

MAPPED_BYTES = 1 << 30
"""External weights from this size stay pages of their file, shared by all workers on the host. Smaller ones
ONNX Runtime copies into the order that its kernels like best: up to three times faster for batches of a few
rows, for ten times the loading and memory of the worker's own."""
GRAPH_BYTES = 64 << 20
"""A larger model has its weights inside."""
_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f][^\n]+)")


def load(request: dict[str, Any], setup: dict[str, Any]) -> OnnxServer:
    """Return the model that `request` names; raises `NoModelError`."""
    return OnnxServer(request, setup)


class OnnxServer:
    """One session and the declared inputs and outputs around it."""

    def __init__(self, request: dict[str, Any], setup: dict[str, Any]) -> None:
        self.input_specs: list[dict[str, Any]] = request["inputs"]
        self.output_specs: list[dict[str, Any]] = request["outputs"]
        self.session, self.make_options = _session(
            os.path.join(BUNDLE, request["path"]), setup, int(request["runs"])
        )
        self.inputs = [tensors.signature(node) for node in self.session.get_inputs()]
        self.outputs = [tensors.signature(node) for node in self.session.get_outputs()]

    def serve(self, job: Job) -> None:
        """Do one run, or answer calls with tensors until their stream ends."""
        if job.is_stream:
            calls.serve(Channel(job.socket), self.inputs, self.outputs, self._compute)
            return
        try:
            feeds = self._feeds(job)
        except tensors.InputError as error:
            raise Failed("input_invalid", str(error)) from error
        job.send({"is": "started", "work": "none"})
        found = dict(zip([item["name"] for item in self.outputs], self._run(job, feeds), strict=True))
        job.send({"is": "exited", "code": 0})
        try:
            self._send(job, found)
        except results.OutputError as error:
            raise Failed("user_error", str(error)) from error

    def _feeds(self, job: Job) -> dict[str, Any]:
        if job.tensors:
            return {name: tensors.raw(header, data) for name, (header, data) in job.tensors.items()}
        return tensors.feeds(self.input_specs, self.inputs, job.values, job.files)

    def _compute(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        try:
            return self._results(names, feeds, None)
        except Failed as error:
            raise calls.RefusedError(error.reason, str(error)) from error

    def _run(self, job: Job, feeds: dict[str, Any]) -> list[Any]:
        options = self.make_options()
        job.on_stop(lambda: setattr(options, "terminate", True))
        try:
            return self._results(None, feeds, options)
        except Failed:
            job.check()
            raise

    def _results(self, names: list[str] | None, feeds: dict[str, Any], options: Any) -> list[Any]:
        try:
            found: list[Any] = self.session.run(names, feeds, options)
        except MemoryError as error:
            raise Failed("user_error", "the model ran out of memory") from error
        except Exception as error:
            # ONNX Runtime raises its own classes, which exist only in the environment.
            raise Failed("user_error", f"the model could not be run: {_first_line(error)}") from error
        return found

    def _send(self, job: Job, found: dict[str, Any]) -> None:
        if job.tensors:
            for name, tensor in found.items():
                _send_tensor(job, name, tensor)
            return
        for spec in self.output_specs:
            tensor = results.source(spec, self.outputs, found)
            if spec["type"] == "image":
                _send_image(job, spec, tensor)
            else:
                job.value(spec["name"], spec["type"], results.value(spec, tensor))


def _session(path: str, setup: dict[str, Any], runs: int) -> tuple[Any, Any]:
    """Return a session whose runs share the sandbox's cores, and what makes the options of a run."""
    if not os.path.isfile(path):
        raise NoModelError(f"the bundle has no file {os.path.relpath(path, BUNDLE)}")
    try:
        import numpy as np  # noqa: F401 - a missing package must be found now, not in the first run
        import onnxruntime
    except ImportError as error:
        text = f"the environment lacks what ONNX models need ({error}); add onnxruntime, numpy and pillow"
        raise NoModelError(text) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, setup["threads"] // runs)
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Spinning threads burn the CPU quota of the sandbox between requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if external_bytes(path) >= MAPPED_BYTES:
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=_providers(onnxruntime, setup))
    except Exception as error:
        raise NoModelError(f"the ONNX file cannot be loaded: {_first_line(error)}") from error
    return session, onnxruntime.RunOptions


def external_bytes(path: str) -> int:
    """Return the size of the files that hold a model's weights outside of it.

    Their names stand in the model as the value of the key `location` (onnx.proto, `external_data`). Whatever
    a hostile file makes of this only decides between two ways to compute the same.
    """
    if os.path.getsize(path) > GRAPH_BYTES:
        return 0
    with open(path, "rb") as file:
        names = {found[1 : 1 + found[0]] for found in _LOCATION.findall(file.read())}
    files = [os.path.join(os.fsencode(os.path.dirname(path)), name) for name in names]
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file))


def _providers(onnxruntime: Any, setup: dict[str, Any]) -> list[str]:
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"] if setup["gpu"] else ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    return [name for name in wanted if name in available]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:1000]


def _send_image(job: Job, spec: dict[str, Any], tensor: Any) -> None:
    try:
        data = images.encoded(tensor, spec.get("tensor") or {})
    except (ValueError, TypeError) as error:
        raise results.OutputError(f"output `{spec['name']}`: {error}") from error
    job.file(spec["name"], f"{spec['name']}.png", data)


def _send_tensor(job: Job, name: str, tensor: Any) -> None:
    dtype, shape = str(getattr(tensor, "dtype", "object")), list(getattr(tensor, "shape", []))
    if dtype == "object":
        raise results.OutputError(f"tensor {name} holds text or mappings and has no binary form")
    job.tensor(name, dtype, shape, tensor.tobytes())
