"""Settings of the runner (`VITRINE_RUNNER_*`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vitrine_common.spec import DEFAULT_LIMITS
from vitrine_common.spec import Limits as SpecLimits
from vitrine_engine import BASE_IMAGE, Bind, EngineName, ZygotePolicy

MIB = 1 << 20
GIB = 1 << 30


def cpu_count() -> int:
    """Return the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Return three quarters of the machine's memory: the rest is the services' and the kernel's."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


class RunnerSettings(BaseSettings):
    """How much this worker host takes on, and what one run may use."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_RUNNER_")

    state_dir: Path = Field(
        default=Path("/var/lib/vitrine/runner"),
        description="Folder of this process alone: fetched bundles and what runs leave for a moment.",
    )
    engine: EngineName = Field(
        default="auto",
        description="Where user code runs: `process`, `docker` (the daemon of `DOCKER_HOST`), or `auto`: the "
        "process engine where it works, else docker.",
    )
    base_image: str = Field(
        default=BASE_IMAGE,
        description="Docker engine: image with Python in which environments run that have none themselves.",
    )
    slots: int = Field(
        default_factory=lambda: max(2, cpu_count()), ge=1, description="Runs that are worked on at a time."
    )
    claim_slots: int = Field(
        default=1,
        ge=0,
        description="Checks of claims that are worked on at a time, beside the runs; 0 takes none.",
    )
    memory_bytes: int = Field(
        default_factory=memory_bytes,
        gt=0,
        description="Sum of the memory limits of the workers that live at a time; the most of one.",
    )
    call_queue: int = Field(
        default=1000, ge=1, description="Synchronous calls of one version that wait here at most."
    )
    max_workers: int = Field(default=64, ge=1, description="Workers that live at a time, idle ones included.")
    idle_seconds: float = Field(
        default=60.0, gt=0, description="Time after which a free worker is stopped, unless its model says."
    )
    most_zygotes: int = Field(
        default=16,
        ge=0,
        description="Interpreters that are kept with the modules of an environment imported, one for each "
        "environment and owner, so that models start in milliseconds; 0 keeps none.",
    )
    zygote_idle_seconds: float = Field(
        default=1800.0, gt=0, description="Time after which such an interpreter goes that nobody has used."
    )
    zygote_memory_bytes: int = Field(
        default=2 * GIB,
        ge=0,
        description="Memory of all of them (PSS); those that were not used for longest go first.",
    )
    max_attempts: int = Field(default=3, ge=1, description="How often a run is begun before it fails.")
    retry_seconds: float = Field(
        default=0.5, ge=0, description="Pause before a run that the platform failed is begun again."
    )
    stop_seconds: float = Field(
        default=10.0, ge=0, description="Time that runs get to end when the runner is told to stop."
    )
    gpu: Literal["auto", "on", "off"] = Field(
        default="auto", description="Whether runs that need a GPU are taken; `auto`: where one is seen."
    )
    cpus: float = Field(default=DEFAULT_LIMITS.cpu, gt=0, description="Cores of a run that names none.")
    max_cpus: float = Field(
        default_factory=lambda: float(cpu_count()), gt=0, description="Most cores of a run."
    )
    run_memory_bytes: int = Field(
        default=DEFAULT_LIMITS.memory, gt=0, description="Memory of a run that names none."
    )
    scratch_bytes: int = Field(
        default=DEFAULT_LIMITS.disk, gt=0, description="Private disk of a run that names none."
    )
    max_scratch_bytes: int = Field(default=16 * GIB, gt=0, description="Most private disk of a run.")
    run_seconds: float = Field(
        default=DEFAULT_LIMITS.timeout, gt=0, description="Time limit of a run that names none."
    )
    max_run_seconds: float = Field(default=3600.0, gt=0, description="Longest time limit of a run.")
    processes: int = Field(
        default=DEFAULT_LIMITS.processes, ge=1, description="Processes and threads of a run that names none."
    )
    max_processes: int = Field(default=4096, ge=1, description="Most processes and threads of a run.")
    output_bytes: int = Field(default=256 * MIB, gt=0, description="Most bytes of a run's outputs together.")
    log_bytes: int = Field(
        default=4 * MIB, gt=0, description="Most bytes that are read of what a run prints."
    )
    bundle_cache_bytes: int = Field(
        default=20 * GIB,
        ge=0,
        description="Bytes of fetched bundles on disk, and again of fetched datasets; what several share "
        "counts once. Beyond that those that nothing uses go, least recently used first.",
    )
    binds: Annotated[tuple[Bind, ...], NoDecode] = Field(
        default=(),
        description=(
            "Host folders that every sandbox sees, such as shared datasets: `host:/sandbox[:rw]`, separated "
            "by commas. What is shown `:rw` is shared by all models of all accounts."
        ),
    )

    @field_validator("binds", mode="before")
    @classmethod
    def _parse_binds(cls, value: Any) -> Any:
        return tuple(_binds(value)) if isinstance(value, str) else value

    @property
    def bundles_dir(self) -> Path:
        """Where versions' files are kept on this host."""
        return self.state_dir / "bundles"

    @property
    def zygotes(self) -> ZygotePolicy:
        """How many interpreters with imported modules the engine keeps."""
        return ZygotePolicy(
            most=self.most_zygotes,
            idle_seconds=self.zygote_idle_seconds,
            memory_bytes=self.zygote_memory_bytes,
        )

    @property
    def defaults(self) -> SpecLimits:
        """What a run may use whose model says nothing."""
        return SpecLimits(
            cpu=min(self.cpus, self.max_cpus),
            memory=min(self.run_memory_bytes, self.memory_bytes),
            gpu=0,
            timeout=min(self.run_seconds, self.max_run_seconds),
            disk=min(self.scratch_bytes, self.max_scratch_bytes),
            processes=min(self.processes, self.max_processes),
        )

    @property
    def ceiling(self) -> SpecLimits:
        """What no model gets more of, whatever it says."""
        return SpecLimits(
            cpu=self.max_cpus,
            memory=self.memory_bytes,
            gpu=64,
            timeout=self.max_run_seconds,
            disk=self.max_scratch_bytes,
            processes=self.max_processes,
        )

    @property
    def takes_gpu_runs(self) -> bool:
        """Whether this host takes runs that need a GPU."""
        return self.gpu == "on" or (self.gpu == "auto" and has_gpu())

    @property
    def devices(self) -> tuple[Literal["cpu", "gpu"], ...]:
        """The kinds of run that this host takes."""
        return ("cpu", "gpu") if self.takes_gpu_runs else ("cpu",)


def _binds(text: str) -> Iterator[Bind]:
    for entry in filter(None, (part.strip() for part in text.split(","))):
        source, _, rest = entry.partition(":")
        target, _, mode = rest.partition(":")
        if not source.startswith("/") or not target.startswith("/") or mode not in {"", "ro", "rw"}:
            raise ValueError(
                f"`{entry}` is no bind: write /host/folder:/sandbox/folder, or …:rw to let runs write"
            )
        yield Bind(source=Path(source), target=target, writable=mode == "rw")


def has_gpu() -> bool:
    """Whether the machine shows an NVIDIA GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
