"""Messages about runners."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from vitrine_common.messages.envelope import Progress


class WarmVersion(BaseModel):
    """The workers that a runner has of one version."""

    model_config = ConfigDict(frozen=True)

    version_digest: str
    environment_digest: str
    owner_id: str
    workers: int
    free_places: int
    """Runs that ready workers could take at once."""
    most: int | None = None
    """Workers that the version may have on all runners together; None where it states no maximum."""


class WarmEnvironment(BaseModel):
    """An environment that lives on a runner, for the models of one owner."""

    model_config = ConfigDict(frozen=True)

    environment_digest: str
    owner_id: str


class GpuState(BaseModel):
    """A GPU of a runner. Sizes in bytes, 0 where nothing tells them."""

    model_config = ConfigDict(frozen=True)

    name: str
    memory_bytes: int
    free_bytes: int
    users: int
    """Workers of this runner that were given it."""
    free: bool
    """Whether a run that wants the whole of it could have it."""


class RunnerBeat(Progress):
    """A runner tells what it has to give: every two seconds, and whenever that changes."""

    TYPE: ClassVar[str] = "runner.beat"

    holder: str
    leaving: bool = False
    """Whether it takes nothing more."""
    devices: tuple[Literal["cpu", "gpu"], ...] = ("cpu",)
    slots: int = 0
    busy: int = 0
    memory_bytes: int = 0
    """Sum of the memory limits that its workers may have together."""
    memory_free: int = 0
    warm: tuple[WarmVersion, ...] = ()
    environments: tuple[WarmEnvironment, ...] = ()
    """Those in which a worker starts quickly here: one lives, or their zygote does."""
    gpus: tuple[GpuState, ...] = ()
