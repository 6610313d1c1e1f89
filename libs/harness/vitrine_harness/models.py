"""Serving one loaded model, in a process that is confined already.

Messages on the control socket (one JSON object a packet) from the engine: `{"do": "load"}` once, then
`{"do": "run", "id": …}` any number of times, each with the descriptor of a stream. To the engine:
`{"is": "ended", "id": …}` when a run's stream is closed.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

from vitrine_harness import onnx
from vitrine_harness.frames import Channel

CONTROL_BYTES = 64 * 1024


def main(descriptor: int, setup: str) -> None:
    """Serve the engine on an inherited control socket, as the program of a fresh interpreter."""
    sys.path.remove("/vitrine/harness")
    serve_control(socket.socket(fileno=descriptor), json.loads(setup))


def serve_control(control: socket.socket, setup: dict[str, Any]) -> None:
    """Load a model and serve its runs until the engine hangs up."""
    serve = None
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, CONTROL_BYTES, 1)
        if not data:
            return
        message = json.loads(data)
        with socket.socket(fileno=descriptors[0]) as stream:
            if message["do"] == "load":
                serve = onnx.load(Channel(stream), setup)
            elif serve is not None:
                serve(Channel(stream))
        if message["do"] == "run":
            control.send(json.dumps({"is": "ended", "id": message["id"]}).encode())
