"""Settings of the trainer (`VITRINE_TRAINER_*`)."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vitrine_engine import BASE_IMAGE, EngineName

GIB = 1 << 30


class TrainerSettings(BaseSettings):
    """How much is trained here at a time, and what a training may use."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_TRAINER_")

    state_dir: Path = Field(default=Path("/var/lib/vitrine/trainer"), description="Sandboxes and bundles.")
    engine: EngineName = Field(
        default="auto",
        description="Where trainings run: `process`, `docker` (the daemon of `DOCKER_HOST`), or `auto`: the "
        "process engine where it works, else docker.",
    )
    base_image: str = Field(
        default=BASE_IMAGE,
        description="Docker engine: image with Python in which environments run that have none themselves.",
    )
    slots: int = Field(default=1, ge=1, description="Trials at a time on this host.")
    max_attempts: int = Field(default=3, ge=1, description="How often a trial is begun whose trainer died.")
    sample_seconds: float = Field(default=1.0, gt=0, description="Pause between two resource samples.")
    look_seconds: float = Field(default=2.0, gt=0, description="Pause between two looks for waiting trials.")
    default_cpus: float = Field(
        default_factory=lambda: float(os.cpu_count() or 1),
        gt=0,
        description="Cores of a training that names none; all of the host by default.",
    )
    default_memory_bytes: int = Field(default=4 * GIB, gt=0, description="Memory of one that names none.")
    default_timeout_seconds: float = Field(default=3600, gt=0, description="Time of one that names none.")
    default_disk_bytes: int = Field(default=2 * GIB, gt=0, description="Disk of one that names none.")
    default_processes: int = Field(default=512, gt=0, description="Processes of one that names none.")
    max_timeout_seconds: float = Field(default=7 * 24 * 3600, gt=0, description="Longest training allowed.")
