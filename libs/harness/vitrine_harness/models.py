"""Serving one loaded model of any kind, in a process that is confined already.

Messages on the control socket (one JSON object a packet):

- from the engine: `{"do": "load"}` once, `{"do": "run", "id": …}` any number of times, also while others are
  served; each with the descriptor of a stream
- to the engine: `{"is": "ended", "id": …}` when a run's stream is closed and its code has returned

The author's code runs in the process that holds this socket, so the engine believes nothing that comes from
it: at worst a model lies about its own runs.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import time
from typing import Any

from vitrine_harness import BROKEN, start_state
from vitrine_harness.capture import Capture
from vitrine_harness.executing import Batches, Executor, MainThread, NoModelError, Tasks, Threads
from vitrine_harness.frames import Channel
from vitrine_harness.jobs import Job
from vitrine_harness.receiving import CONTROL_BYTES, Receiver
from vitrine_harness.workspace import METRICS

METRICS_MODULE = "/vitrine/harness/metrics"


def main(descriptor: int, setup: str) -> None:
    """Serve the engine on an inherited control socket, as the program of a fresh interpreter."""
    sys.path.remove("/vitrine/harness")
    serve_control(socket.socket(fileno=descriptor), json.loads(setup))


def serve_control(control: socket.socket, setup: dict[str, Any]) -> None:
    """Load a model and serve its runs in this process, until the engine hangs up.

    Args:
        control: the engine's end is the other one; messages as above.
        setup: what the engine says of the sandbox: `threads`, `gpu`, `env`, `library_path`, `disk_bytes`.

    The caller has confined the process, with the environment's packages on its path and `/work` as its
    directory: from here on it runs code that nobody trusts. Ends the process when the engine hangs up.
    """
    _, descriptors, _, _ = socket.recv_fds(control, CONTROL_BYTES, 1)
    if not descriptors:
        return
    os.environ["VITRINE_METRICS"] = METRICS
    start_state.refresh(os.environ, setup["threads"])
    capture = Capture()
    _take_reports(capture)
    with socket.socket(fileno=descriptors[0]) as load:
        executor, receiver = _load(Channel(load), control, setup, capture)
    if executor is None or receiver is None:
        return
    thread = threading.Thread(target=_receive, args=(receiver,), daemon=True, name="vitrine engine")
    thread.start()
    executor.work()


def _take_reports(capture: Capture) -> None:
    """Hear reports of numbers and progress from the thread that makes them."""
    if METRICS_MODULE not in sys.path:
        sys.path.append(METRICS_MODULE)
    importlib.import_module("vitrine_metrics").deliver = capture.report  # type: ignore[attr-defined]


def _receive(receiver: Receiver) -> None:
    status = BROKEN
    try:
        receiver.serve()
        status = 0
    finally:
        os._exit(status)


def _load(
    channel: Channel, control: socket.socket, setup: dict[str, Any], capture: Capture
) -> tuple[Executor | None, Receiver | None]:
    """Answer the load message; return what serves runs, or nothing when the model cannot be loaded."""
    frame = channel.receive()
    if frame is None:
        return None, None
    request, _ = frame
    started = time.monotonic()
    receivers: list[Receiver] = []

    def finished(job: Job) -> None:
        receivers[0].finished(job)

    try:
        executor, description, in_files = _open(request, setup, capture, finished)
    except NoModelError as error:
        capture.drain()
        log = bytes(capture.unclaimed).decode(errors="replace") + error.log
        answer = {
            "is": "load_failed",
            "reason": "user_error",
            "message": str(error)[:2000],
            "log": log[-16000:],
        }
        channel.send(answer)
        return None, None
    capture.drain()
    receivers.append(Receiver(control, executor.submit, in_files=in_files))
    milliseconds = (time.monotonic() - started) * 1000
    channel.send({"is": "loaded", "milliseconds": milliseconds, **description})
    return executor, receivers[0]


def _open(
    request: dict[str, Any], setup: dict[str, Any], capture: Capture, finished: Any
) -> tuple[Executor, dict[str, Any], bool]:
    """Load the model that `request` names; return its executor, its signature, and how it takes files."""
    runs = int(request["runs"])
    if request["kind"] == "onnx":
        # Imported here, like the next ones: each kind needs only its own.
        from vitrine_harness import onnx

        session = onnx.load(request, setup)
        signature = {"inputs": session.inputs, "outputs": session.outputs}
        return _by_count(session, runs, capture, finished), signature, False
    from vitrine_harness import predictors

    if request["kind"] == "mlflow":
        from vitrine_harness import mlflow

        model: Any = mlflow.load(request)
        return _by_count(model, runs, capture, finished), {}, True
    predictor = predictors.load(request)
    if request["batch"] is not None:
        size, wait = int(request["batch"]["size"]), float(request["batch"]["wait"])
        return Batches(predictor.serve_batch, size, wait, capture, finished), {}, True
    if predictor.loop is not None:
        return Tasks(predictor.serve_task, predictor.loop, capture, finished), {}, True
    return _by_count(predictor, runs, capture, finished), {}, True


def _by_count(model: Any, runs: int, capture: Capture, finished: Any) -> Executor:
    if runs == 1:
        return MainThread(model, capture, finished)
    return Threads(model, runs, capture, finished)
