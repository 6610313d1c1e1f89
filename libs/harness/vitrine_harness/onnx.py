"""Serving an ONNX model: declared inputs to tensors, one session, tensors to declared outputs.

No user code exists here, but the model file is the author's and its parser is large: whoever calls `load` has
dropped every capability and filtered system calls, before the packages of the environment are imported.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrine_harness import calls, images, results, tensors
from vitrine_harness.cell import BUNDLE
from vitrine_harness.frames import CHUNK, Channel

Serve = Callable[[Channel], None]


def load(channel: Channel, setup: dict[str, Any]) -> Serve | None:
    """Answer one load message; return what serves runs, or None when the model cannot be loaded."""
    frame = channel.receive()
    if frame is None:
        return None
    request, _ = frame
    started = time.monotonic()
    try:
        model = OnnxServer(request, setup)
    except _NoModelError as error:
        channel.send({"is": "load_failed", "reason": "user_error", "message": str(error)[:2000]})
        return None
    channel.send(
        {
            "is": "loaded",
            "milliseconds": (time.monotonic() - started) * 1000,
            "inputs": model.inputs,
            "outputs": model.outputs,
        }
    )
    return model.serve


class _NoModelError(Exception):
    """The model cannot be loaded; the message says why."""


class OnnxServer:
    """One session and the declared inputs and outputs around it."""

    def __init__(self, request: dict[str, Any], setup: dict[str, Any]) -> None:
        self.input_specs: list[dict[str, Any]] = request["inputs"]
        self.output_specs: list[dict[str, Any]] = request["outputs"]
        self.session = _session(os.path.join(BUNDLE, request["path"]), setup)
        self.inputs = [tensors.signature(node) for node in self.session.get_inputs()]
        self.outputs = [tensors.signature(node) for node in self.session.get_outputs()]

    def serve(self, channel: Channel) -> None:
        """Do one run, or answer calls with tensors until their stream ends."""
        first = channel.receive()
        if first is not None and first[0]["do"] == "calls":
            calls.serve(channel, self.inputs, self.outputs, self._compute)
            return
        try:
            request, files, raw = _receive(channel, first)
            feeds = self._feeds(request, files, raw)
            channel.send({"is": "started", "work": "none"})
            found = dict(zip([item["name"] for item in self.outputs], self._run(feeds), strict=True))
            channel.send({"is": "exited", "code": 0})
            self._send(channel, found, as_tensors=bool(raw))
        except tensors.InputError as error:
            channel.send(_end("input_invalid", str(error)))
        except (results.OutputError, _RunError) as error:
            channel.send(_end("user_error", str(error)))
        else:
            channel.send(_end(None, ""))

    def _feeds(self, request: dict[str, Any], files: dict[str, bytes], raw: dict[str, Any]) -> dict[str, Any]:
        if raw:
            return raw
        return tensors.feeds(self.input_specs, self.inputs, request["values"], files)

    def _compute(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        try:
            return self._run(feeds, names)
        except _RunError as error:
            raise calls.RefusedError("user_error", str(error)) from error

    def _run(self, feeds: dict[str, Any], names: list[str] | None = None) -> list[Any]:
        try:
            found: list[Any] = self.session.run(names, feeds)
        except MemoryError as error:
            raise _RunError("the model ran out of memory") from error
        except Exception as error:
            # ONNX Runtime raises its own classes, which exist only in the environment.
            raise _RunError(f"the model could not be run: {_first_line(error)}") from error
        return found

    def _send(self, channel: Channel, found: dict[str, Any], *, as_tensors: bool) -> None:
        if as_tensors:
            for name, tensor in found.items():
                _send_tensor(channel, name, tensor)
            return
        for spec in self.output_specs:
            tensor = results.source(spec, self.outputs, found)
            if spec["type"] == "image":
                _send_image(channel, spec, tensor)
            else:
                value = results.value(spec, tensor)
                channel.send({"is": "value", "name": spec["name"], "type": spec["type"], "value": value})


class _RunError(Exception):
    """The session refused or failed; the message says why."""


def _session(path: str, setup: dict[str, Any]) -> Any:
    if not os.path.isfile(path):
        raise _NoModelError(f"the bundle has no file {os.path.relpath(path, BUNDLE)}")
    threads = str(setup["threads"])
    os.environ |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "HOME": "/tmp"}
    sys.path[:0] = [str(item) for item in Path("/env/lib").glob("python3*/site-packages")]
    try:
        import numpy as np  # noqa: F401 - a missing package must be found now, not in the first run
        import onnxruntime
    except ImportError as error:
        text = f"the environment lacks what ONNX models need ({error}); add onnxruntime, numpy and pillow"
        raise _NoModelError(text) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Spinning threads burn the CPU quota of the sandbox between requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=_providers(onnxruntime, setup))
    except Exception as error:
        raise _NoModelError(f"the ONNX file cannot be loaded: {_first_line(error)}") from error


def _providers(onnxruntime: Any, setup: dict[str, Any]) -> list[str]:
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"] if setup["gpu"] else ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    return [name for name in wanted if name in available]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:1000]


def _receive(
    channel: Channel, frame: tuple[dict[str, Any], bytes] | None
) -> tuple[dict[str, Any], dict[str, bytes], dict[str, Any]]:
    """Return what a run was given, whose first frame has been read."""
    request: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    raw: dict[str, Any] = {}
    while frame is not None:
        header, _ = frame
        if header["do"] == "go":
            return request, files, raw
        if header["do"] == "start":
            request = header
        elif header["do"] == "file":
            files[header["name"]] = _content(channel, header["size"])
        elif header["do"] == "tensor":
            raw[header["name"]] = tensors.raw(header, _content(channel, header["size"]))
        frame = channel.receive()
    raise tensors.InputError("the engine has gone")


def _content(channel: Channel, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        frame = channel.receive()
        if frame is None:
            raise tensors.InputError("the engine has gone")
        data += frame[1]
    return bytes(data)


def _send_image(channel: Channel, spec: dict[str, Any], tensor: Any) -> None:
    try:
        data = images.encoded(tensor, spec.get("tensor") or {})
    except (ValueError, TypeError) as error:
        raise results.OutputError(f"output `{spec['name']}`: {error}") from error
    name = f"{spec['name']}.png"
    header = {"is": "file", "kind": "output", "name": name, "size": len(data), "outputs": [spec["name"]]}
    channel.send(header)
    _send_data(channel, data)
    channel.send({"is": "file_end", "whole": True})


def _send_tensor(channel: Channel, name: str, tensor: Any) -> None:
    dtype, shape = str(getattr(tensor, "dtype", "object")), list(getattr(tensor, "shape", []))
    if dtype == "object":
        raise results.OutputError(f"tensor {name} holds text or mappings and has no binary form")
    data = tensor.tobytes()
    channel.send({"is": "tensor", "name": name, "dtype": dtype, "shape": shape, "size": len(data)})
    _send_data(channel, data)


def _send_data(channel: Channel, data: bytes) -> None:
    view = memoryview(data)
    for offset in range(0, len(view), CHUNK):
        channel.send({"is": "data"}, view[offset : offset + CHUNK])


def _end(reason: str | None, message: str) -> dict[str, Any]:
    return {"is": "end", "reason": reason, "message": message[:2000], "truncated": False}
