"""The sections that say what runs, with which packages, on what, and how it is trained."""

import shlex
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from vitrine_common.debian import PackageListError, check_package
from vitrine_common.paths import DirectoryPath, FilePath, PathPattern, normalise_path
from vitrine_common.spec.base import Section
from vitrine_common.spec.quantities import Duration, Size

_SHELL_WORDS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1"})


def split_command(command: str) -> list[str]:
    """Split as a shell would. Raises ValueError for open quotes and for what only a shell understands."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"`{command[:60]}` cannot be split into words: {str(error).lower()}") from error
    found = next((word for word in words if word in _SHELL_WORDS), None)
    if found:
        raise ValueError(
            f"`{found}` needs a shell, and none runs; write `bash run.sh` and put the line there"
        )
    if any("\0" in word for word in words):
        raise ValueError("has a NUL character")
    return words


def _checked_command(command: str) -> str:
    split_command(command)
    return command


AnyCommand = Annotated[str, Field(max_length=4000), AfterValidator(_checked_command)]
Command = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_checked_command)]


RequirementText = Annotated[str, Field(min_length=1, max_length=1000)]


def _checked_package(text: str) -> str:
    try:
        return check_package(text)
    except PackageListError as error:
        raise ValueError(str(error)) from None


SystemPackage = Annotated[str, Field(max_length=200), AfterValidator(_checked_package)]


def _checked_predictor(text: str) -> str:
    path, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier() or not path.endswith(".py"):
        raise ValueError(f"`{text[:80]}` names no class or function; write `predict.py:Predictor`")
    return f"{normalise_path(path)}:{name}"


Predictor = Annotated[str, Field(max_length=1024), AfterValidator(_checked_predictor)]


class ScriptInput(Section):
    """How a script takes its input."""

    type: Literal["download", "flag"]
    """`download`: one file is put at `download_destination`. `flag`: values become `--name value`."""
    download_destination: FilePath | None = None
    """Where the file is put, relative to the working directory."""

    @model_validator(mode="after")
    def _download_has_destination(self) -> Self:
        if self.type == "download" and self.download_destination is None:
            raise ValueError("`type: download` needs `download_destination`: the file that the script reads")
        return self


class ScriptOutput(Section):
    """Where a script leaves its result."""

    path: PathPattern
    """File, directory or pattern, relative to the working directory; `stdout` is what is printed."""
    type: str | None = Field(default=None, max_length=32)
    """Suffix of the files (`png`, `json`, `txt` …) or an output type (`image`, `text` …)."""


class ScriptModel(Section):
    """A model that is run by a command, as its author runs it."""

    file_type: str | None = Field(default=None, alias="fileType", max_length=16)
    """Kind of file that holds the source (`.zip`, `.tar.gz`); informative when a directory is pushed."""
    path: DirectoryPath | None = None
    """Directory of the bundle in which the command runs; the bundle itself when it has no such directory."""
    exec_cmd: AnyCommand = ""
    """Program that the command is handed to, such as `python`; usually empty."""
    command: AnyCommand = ""
    """Command line; it is split like a shell would, but no shell runs it."""
    input: ScriptInput | None = None
    """How the script takes its input."""
    output: ScriptOutput | None = None
    """Where the script leaves its result."""


class Package(Section):
    """The packages that the model needs."""

    type: Literal["pip", "conda", "apt"] = "pip"
    """Package manager: `apt` takes the file or list as names of Debian packages."""
    requirements_file: FilePath | None = None
    """File that lists the packages: `requirements.txt`, `pyproject.toml`, `uv.lock` or `environment.yml`."""
    requirements: list[RequirementText] | None = Field(default=None, max_length=1000)
    """The packages themselves, as `[numpy==2.4, pandas]`, in place of a file."""
    extras: list[str] = Field(default_factory=list, max_length=20)
    """Optional lists of a `pyproject.toml` or `uv.lock` that are installed too."""
    system: list[SystemPackage] = Field(default_factory=list, max_length=200)
    """Debian packages beside them, as `[r-base-core, libgl1]`; a version is written `name=1.2-3`."""

    @model_validator(mode="before")
    @classmethod
    def _only_a_list(cls, data: object) -> object:
        """Read `package: [numpy]` as `package: {requirements: [numpy]}`."""
        return {"requirements": data} if isinstance(data, list) else data

    @model_validator(mode="after")
    def _file_or_list(self) -> Self:
        if self.requirements_file is not None and self.requirements is not None:
            raise ValueError("has both `requirements_file` and `requirements`; keep one of them")
        if self.type == "apt":
            for name in self.requirements or ():
                _checked_package(name)
        return self


class Resources(Section):
    """What one run may use. Each key is optional; the operator's defaults fill in."""

    cpu: float | None = Field(default=None, gt=0, le=1024)
    """Cores; fractions are taken."""
    memory: Size | None = None
    """Memory, such as `2Gi`."""
    gpu: int | None = Field(default=None, ge=0, le=64)
    """Number of GPUs."""
    gpu_memory: Size | None = None
    """Memory of each GPU that a run needs, such as `12Gi`; it may share them then. Without: whole GPUs."""
    timeout: Duration | None = None
    """Longest time that a run may take, such as `10m`."""
    disk: Size | None = None
    """Most that a run may write, such as `1Gi`."""
    processes: int | None = Field(default=None, ge=1, le=100_000)
    """Most processes and threads at one time."""
    network: Literal[False] = False
    """Runs have no network; only `false` is taken."""


class Batching(Section):
    """Runs that come close together are done by one call of `predict`, which takes and returns lists."""

    max_size: int = Field(ge=2, le=1000)
    """Most runs of one call."""
    max_wait: Duration = 0.01
    """How long the first run of a batch waits for others, such as `20ms`."""


class Scaling(Section):
    """How many workers are kept for a version."""

    min: int = Field(default=0, ge=0, le=1000)
    """Workers that stand ready before anybody asks, and stay; 0 stops the last one when it is idle."""
    max: int | None = Field(default=None, ge=1, le=1000)
    """Most workers at one time; the operator's default without it."""
    idle: Duration | None = None
    """Time without work after which a worker is stopped, such as `5m`."""
    concurrency: int = Field(default=1, ge=1, le=1000)
    """Runs that one worker takes at one time."""
    batching: Batching | None = None
    """Doing several runs by one call (predictors)."""

    @property
    def places(self) -> int:
        """Runs that one worker takes at one time, so that batches can fill."""
        return max(self.concurrency, self.batching.max_size if self.batching else 1)

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"`min` {self.min} is larger than `max` {self.max}")
        return self


class TrainMetrics(Section):
    """The metric that tells a good training from a bad one."""

    primary: str = Field(min_length=1, max_length=100)
    """Name that the training logs it by."""
    goal: Literal["maximize", "minimize"] = "maximize"
    """Which direction is better."""


class Train(Section):
    """How the model is trained by `vitrine train`."""

    command: Command
    """Command line, run in the bundle; it is split like a shell would, but no shell runs it."""
    requirements_file: FilePath | None = None
    """Packages of the training; those of `package` without it."""
    outputs: list[PathPattern] = Field(default_factory=list, max_length=200)
    """Files, directories or patterns that the training writes and the registered version contains."""
    checkpoints: list[PathPattern] = Field(default_factory=list, max_length=200)
    """Patterns of checkpoints that are stored while the training runs."""
    metrics: TrainMetrics | None = None
    """The primary metric, or only its name."""
    resources: Resources = Field(default_factory=Resources)
    """What the training may use."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        listed = {key: [data[key]] for key in ("outputs", "checkpoints") if isinstance(data.get(key), str)}
        metrics = {"metrics": {"primary": data["metrics"]}} if isinstance(data.get("metrics"), str) else {}
        return {**data, **listed, **metrics}
