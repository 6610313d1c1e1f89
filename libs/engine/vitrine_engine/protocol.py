"""The port behind which user code runs: what a service may ask of an engine, and what it gets back.

An *engine* makes *sandboxes*. A sandbox holds one environment and one model, and serves *runs*. Every
adapter (process, docker) passes the same behaviour suite
(`tests/contract/test_engine_*.py`), so a service never asks which one it was given.

Life of a sandbox::

    engine.start(spec) -> sandbox.load(model) -> sandbox.run(request)* -> sandbox.stop()

All objects belong to the event loop that made them; methods of one sandbox may be called concurrently.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from vitrine_engine.events import Answer, Reason, RunEvent, Tensor
from vitrine_engine.zygotes import EngineFigures

MIB = 1024 * 1024
GIB = 1024 * MIB


class EngineError(Exception):
    """An engine could not do what was asked; the message names the culprit and the way out."""


class StartError(EngineError):
    """No sandbox could be made: a tool is missing, the kernel forbids it, or a directory is unusable."""


class LoadError(EngineError):
    """A model could not be loaded; `reason` says whose fault it is, the message why.

    `log` is the end of what was printed meanwhile, with the traceback of the author's code.
    """

    def __init__(self, reason: Reason, message: str, log: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.log = log


class CallError(EngineError):
    """A call with tensors was not answered; `reason` says whose fault it is, the message why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SandboxGoneError(EngineError):
    """The sandbox has been stopped, or has died; start another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """Which guarantees hold on this machine, and by which mechanism. Logged and shown at service start."""

    engine: str
    namespaces: tuple[str, ...]
    """Linux namespaces that each sandbox has of its own, e.g. `("user", "mount", "pid", "network", …)`."""
    user_ids: Literal["distinct", "shared"]
    """`distinct`: each sandbox has a host uid of its own. `shared`: all run as the service's user."""
    memory: Literal["cgroup-v1", "cgroup-v2", "watcher"]
    processes: Literal["cgroup-v1", "cgroup-v2", "watcher"]
    cpu: Literal["cgroup-v1", "cgroup-v2", "none"]
    seccomp: bool
    work_directory: Literal["overlay", "copy"]
    """How `/work` is made private to a run: an overlay over the bundle, or a copy of it."""
    warnings: tuple[str, ...] = ()
    """What is missing, in sentences for the operator: what it means and how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sandbox may use. Memory, processes and CPU bind the sandbox as a whole, tmpfs files included."""

    memory_bytes: int = 2 * GIB
    cpus: float = 1.0
    """CPU bandwidth in cores; also the number of threads (rounded up) that libraries are told to use."""
    processes: int = 256
    """Processes and threads that exist at once."""
    disk_bytes: int = 1 * GIB
    """Size of the private `/work` of a run, and again of its `/tmp`; counted as memory as well (tmpfs)."""
    output_bytes: int = 256 * MIB
    """Bytes of all collected outputs of a run together; each checkpoint is held to it alone."""
    log_bytes: int = 4 * MIB
    """Bytes of standard output and standard error together that are reported; the rest is dropped."""
    wall_seconds: float = 300.0
    """Default of `RunRequest.wall_seconds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host directory or file that the operator shows to a sandbox. Never taken from an author."""

    source: Path
    target: str
    """Absolute path inside the sandbox."""
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a sandbox is made of."""

    id: str
    """Unique among living sandboxes: letters, digits, `_`, `-`; at most 64 characters."""
    environment: Path | None = None
    """Host directory shown at `/env` (read-only, must be world-readable); None: bare Python."""
    image: str | None = None
    """Docker engine: the image that has this environment at `/env`. A daemon that lacks it is no error where
    `environment` names a directory: then that is shown in the base image. Other engines ignore it."""
    system: Path | None = None
    """Process engine: a root file system whose `/usr`, `/etc`, `/opt`, `/var` and so on are shown (read-only)
    in place of the host's, its Python at `/opt/python` included. Made by the builder."""
    bundle: Path | None = None
    """Host directory shown at `/bundle` (read-only, must be world-readable); None: an empty one."""
    limits: Limits = field(default_factory=Limits)
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every run, on top of the engine's own (PATH, HOME, …)."""
    owner: str | None = None
    """Whose model it is, where sandboxes of one owner and environment may be forks of one interpreter with
    its modules imported; None: they share nothing. Engines without such an interpreter ignore it."""
    gpu: bool = False
    """Show the NVIDIA devices and driver libraries of the host."""
    max_runs: int = 1
    """Runs served at the same time; further calls of `run` wait for their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptModel:
    """A bundle whose command line is executed once per run, each time in a clean private `/work`."""

    argv: Sequence[str] = ()
    """How its runs' command lines begin, as far as it is known: for what can be had ready before a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """An ONNX file with declarative pre- and post-processing: no user code.

    `inputs` and `outputs` are the lists of the spec's harness form (`vitrine_common.spec.harness`).
    """

    path: str
    """Path of the model relative to the bundle."""
    inputs: Sequence[Mapping[str, Any]] = ()
    outputs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """Runs that come within `wait_seconds` of each other are done by one call, at most `size` of them."""

    size: int
    wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorModel:
    """The author's class or function, set up once and called for every run.

    It runs in one process with `/work` as its working directory: a private, writable view of the bundle that
    lasts as long as the sandbox. `SandboxSpec.max_runs` runs are served at a time: as tasks where it is
    asynchronous, else in threads; with one, on the main thread. What the process leaves in memory or on disk
    is seen by later runs of the same sandbox.
    """

    target: str
    """`path.py:Name`, relative to the bundle."""
    inputs: Sequence[Mapping[str, Any]] = ()
    outputs: Sequence[Mapping[str, Any]] = ()
    """The lists of the spec's harness form."""
    batching: Batching | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowModel:
    """A directory that MLflow saved, called by its `python_function` flavour; served like a predictor."""

    path: str
    """The directory with the file `MLmodel`, relative to the bundle."""
    inputs: Sequence[Mapping[str, Any]] = ()
    outputs: Sequence[Mapping[str, Any]] = ()


LoadedModel = OnnxModel | PredictorModel | MlflowModel
"""What is loaded once and then serves runs in one process."""
Model = ScriptModel | LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSignature:
    """One tensor of an ONNX graph."""

    name: str
    dtype: str
    """NumPy name, e.g. `float32`; `object` for string tensors."""
    shape: tuple[int | str | None, ...]
    """Sizes; a symbolic dimension by its name, an unknown one as None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What `Sandbox.load` found."""

    kind: Literal["script", "onnx", "predictor", "mlflow"]
    milliseconds: float
    inputs: tuple[TensorSignature, ...] = ()
    outputs: tuple[TensorSignature, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """Bytes that a run receives."""

    name: str
    """Name of the input; for loaded models that of the declared input which the bytes belong to."""
    source: bytes | Path
    """The bytes, or a host file that the engine reads and sends (never shown to the sandbox itself)."""
    destination: str | None = None
    """Script models: path relative to the working directory; missing directories are made. Predictors: the
    name that the file gets, in a directory of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """Files that are collected when the program has ended with status 0.

    Only regular files that the run wrote or changed count: neither untouched files of the bundle nor
    input files, and no symbolic links.
    """

    pattern: str
    """Relative to the working directory: a file, a directory (all files below it), or a glob
    as `pathlib.Path.glob` reads it (`*`, `?`, `[…]`, `**`)."""
    name: str = ""
    """Name of the output, reported in `OutputFile.outputs`."""
    required: bool = False
    """Whether a run without a match fails with `USER_ERROR`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One run. Script models need `argv`; loaded models take `values` and `files`, ONNX also `tensors`."""

    id: str
    """Unique among the runs of the sandbox: letters, digits, `_`, `-`; at most 64 characters."""
    argv: tuple[str, ...] = ()
    """The command line; never interpreted by a shell. `python` is that of the environment."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """JSON values by input name. Script models see `VITRINE_INPUT_<NAME>`: text as it is, else JSON."""
    files: tuple[InputFile, ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Raw tensors by graph input name; the outputs then come as `OutputTensor`. ONNX models only."""
    workdir: str = "."
    """Directory of `/work` that the command runs in; other paths of the request are relative to it."""
    env: Mapping[str, str] = field(default_factory=dict)
    wall_seconds: float | None = None
    outputs: tuple[OutputSpec, ...] = ()
    checkpoints: tuple[str, ...] = ()
    """Globs like `OutputSpec.pattern`: matches are reported as `CheckpointFile` while the run goes on."""
    metrics: bool = False
    """Whether JSON lines on standard output are taken as metrics too (see `vitrine_metrics`)."""
    traceparent: str | None = None
    """W3C trace context, passed on as `TRACEPARENT`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a sandbox uses now; `cpu_seconds` since its start."""

    memory_bytes: int
    cpu_seconds: float
    processes: int
    disk_bytes: int


class Sandbox(Protocol):
    """A place where one model runs. Made by `Engine.start`."""

    @property
    def id(self) -> str:
        """The id of the spec."""

    @property
    def pid(self) -> int | None:
        """A host process that lives exactly as long as the sandbox; None where there is none on this host."""

    @property
    def alive(self) -> bool:
        """Whether the sandbox can still take runs."""

    @property
    def loaded(self) -> Loaded | None:
        """What `load` found; None before."""

    async def load(self, model: Model) -> Loaded:
        """Make the model ready; once per sandbox.

        Raises `LoadError` (bad model, missing package, not enough memory) and `SandboxGoneError`.
        """

    async def expect_run(self) -> None:
        """Get ready for a run that will probably come within seconds; returns before that is done.

        It may wait first: until what was got ready before has gone, and for where the sandbox moves to.
        Never fails, and never harms: what was got ready and is not used goes again by itself.
        """

    def run(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        """Run once and report; the last event is always exactly one `Finished`.

        Failures are outcomes, never exceptions; only a request that is itself malformed raises `ValueError`
        (before the first event). Runs beyond `SandboxSpec.max_runs` wait for their turn; waiting
        counts in `Timings`, not against `wall_seconds`. Closing the iterator early cancels the run.
        After a run, whatever its outcome, `alive` says whether the sandbox can be used again.
        """

    async def call(self, tensors: Mapping[str, Tensor], outputs: Sequence[str] = ()) -> Answer:
        """Call a loaded model with tensors by graph input name; without `outputs`, all of them come back.

        The short way, for calls of milliseconds: one message there and one back. Calls are computed one
        after the other, and one that is sent before the last was answered begins without a pause. Each has
        the sandbox's `wall_seconds` from when it is its turn; one that takes longer ends the sandbox.

        Raises `CallError` (an input does not fit, the model failed, its limits were reached), `ValueError`
        for a model that takes no tensors, `SandboxGoneError`.
        """

    async def cancel(self, run_id: str) -> None:
        """End a run with `Reason.CANCELLED` and kill its processes; unknown and ended runs: no effect.

        A loaded model is asked to stop the run, and killed with all of its runs when it does not.
        """

    async def usage(self) -> Usage:
        """Measure; zeros once the sandbox is gone."""

    async def stop(self) -> None:
        """Kill everything and leave nothing behind: processes, mounts, directories, cgroups. Idempotent.

        Runs that were going on end with `Reason.CANCELLED`.
        """

    async def wait_exited(self) -> None:
        """Return when the sandbox is gone, by `stop` or by itself."""


class Engine(Protocol):
    """Where user code runs."""

    @property
    def name(self) -> str:
        """`process`, `docker` or `kubernetes`."""

    async def probe(self) -> Isolation:
        """Try out what this machine allows; called at service start.

        Raises `StartError` where no sandbox can be made at all.
        """

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox with the harness running and connected and no user code loaded.

        Raises `StartError` (also `ValueError` for a malformed spec). Nothing is left behind on failure.
        """

    async def warm(self, spec: SandboxSpec) -> None:
        """Get ready what sandboxes of this owner and environment share, where they share something.

        Raises like `start`.
        """

    def figures(self) -> EngineFigures:
        """Return what the engine holds now."""

    async def aclose(self) -> None:
        """Stop every sandbox and free what the engine holds. Idempotent."""
