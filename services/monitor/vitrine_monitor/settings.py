"""Settings of the monitor (`VITRINE_MONITOR_*`)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class MonitorSettings(BaseSettings):
    """What is kept of runs, and for how long."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_MONITOR_")

    raw_retention_seconds: float = Field(
        default=0,
        ge=0,
        description="How long the checked input values stay with a scoring record; 0 never keeps them.",
    )
    sweep_seconds: float = Field(default=30, gt=0, description="Pause between two looks for what is due.")
    catch_up_seconds: float = Field(
        default=60, gt=0, description="Pause between two looks for finished runs without a record."
    )
