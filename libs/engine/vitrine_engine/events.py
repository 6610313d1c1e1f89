"""What a run reports: its events, in the order in which they happen, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal


class Reason(StrEnum):
    """Why a run did not succeed. Only `PLATFORM_ERROR` may be retried by a service."""

    USER_ERROR = "user_error"
    """The program ended with a status other than 0, or a promised output is missing."""
    TIMEOUT = "timeout"
    """The wall clock limit passed."""
    OUT_OF_MEMORY = "out_of_memory"
    """The sandbox's memory limit was reached."""
    DISK_FULL = "disk_full"
    """The run's private disk was full when the program failed."""
    OUTPUT_TOO_LARGE = "output_too_large"
    """The outputs together exceed `Limits.output_bytes`."""
    SANDBOX_VIOLATION = "sandbox_violation"
    """The sandbox broke the protocol; it was killed."""
    INPUT_INVALID = "input_invalid"
    """An input cannot be used; the message names it."""
    CANCELLED = "cancelled"
    """`Sandbox.cancel` was called, or the iterator of `Sandbox.run` was closed."""
    PLATFORM_ERROR = "platform_error"
    """The platform failed, not the program: the sandbox could not be made or died by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A dense array: C order, little endian. One of `object` holds texts, each after its length (`<I`)."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A piece of what the program printed, in the order of arrival within its stream; any split."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Numbers that the program reported."""

    values: Mapping[str, float]
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the program says that it is: `fraction` in 0…1."""

    fraction: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A collected file. `file` is the engine's copy: read or move it before asking for the next event.

    What has not been moved by then is deleted.
    """

    name: str
    """Path relative to the working directory; never absolute, never with `..`."""
    media_type: str
    size: int
    digest: str
    """`sha256:<64 hex>`, computed by the engine, not by the sandbox."""
    file: Path
    outputs: tuple[str, ...] = ()
    """Names of the `OutputSpec`s whose pattern matches (every file comes once); that of a loaded model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFile(OutputFile):
    """A file matching `RunRequest.checkpoints` that had stopped changing; again after every change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputValue:
    """A typed result of a loaded model, or a piece of one that is streamed.

    `type` is that of the declared output. `label`: value is `{"label": str, "score": float, "index": int}`;
    `labels`: value is a list of those, best first; `number`, `text`, `json`: value is the value.
    """

    name: str
    type: str
    value: Any
    partial: bool = False
    """Whether this is one piece of the output: pieces come in order, those of a `text` are joined, others
    make a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTensor:
    """A raw result of an ONNX model that was called with raw tensors."""

    name: str
    tensor: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call with tensors gave: tensors by name, and how long the model itself computed."""

    tensors: Mapping[str, Tensor]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds from the call of `run` to each point; None where it was not reached."""

    started: float | None = None
    """The program (or the ONNX session) was given its inputs and began."""
    user: float | None = None
    """It ended."""
    collected: float | None = None
    """The last output had arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    reason: Reason | None
    """None for success."""
    exit_code: int | None = None
    """Status of the program; 128 + n where signal n ended it; None where it did not end by itself."""
    message: str = ""
    """For people: e.g. the last line of the program's traceback, or the name of the input that is wrong."""
    timings: Timings = field(default_factory=Timings)
    peak_memory_bytes: int | None = None
    """Largest memory use of the sandbox seen during the run."""
    log_truncated: bool = False
    """Whether output beyond `Limits.log_bytes` was dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of every run, exactly once."""

    outcome: Outcome


RunEvent = Log | Metric | Progress | OutputFile | CheckpointFile | OutputValue | OutputTensor | Finished
