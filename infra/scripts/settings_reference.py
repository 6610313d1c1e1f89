"""Writes docs/reference/settings.md from the settings classes of every service."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from vitrine_api.settings import ApiSettings
from vitrine_builder.settings import BuilderSettings
from vitrine_common.settings import (
    MetricsSettings,
    MongoSettings,
    NatsSettings,
    PlatformSettings,
    S3Settings,
    WorkSettings,
)
from vitrine_monitor.settings import MonitorSettings
from vitrine_runner.settings import RunnerSettings
from vitrine_trainer.settings import TrainerSettings

SECTIONS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("Bus", NatsSettings),
    ("State", MongoSettings),
    ("Bytes", S3Settings),
    ("Shared", PlatformSettings),
    ("Work", WorkSettings),
    ("Metrics", MetricsSettings),
    ("api", ApiSettings),
    ("builder", BuilderSettings),
    ("runner", RunnerSettings),
    ("trainer", TrainerSettings),
    ("monitor", MonitorSettings),
)


def shown(value: Any) -> str:
    """Return a default as people read it."""
    if value is PydanticUndefined or value is None or value == () or isinstance(value, SecretStr):
        return "(none)"
    return f"`{value}`" if str(value) else "(none)"


def section(title: str, settings: type[BaseSettings]) -> list[str]:
    """Return one table."""
    prefix = settings.model_config.get("env_prefix", "")
    purpose = (settings.__doc__ or "").strip().split("\n")[0]
    lines = [f"## {title}", "", purpose, "", "| variable | default | means |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseSettings):
            continue
        default = field.default if field.default_factory is None else PydanticUndefined
        words = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{prefix}{name.upper()}` | {shown(default)} | {words} |")
    return [*lines, ""]


def page() -> str:
    """Return the page."""
    head = [
        "# Settings",
        "",
        "Environment variables of the services, generated from the code. `vitrine up` sets addresses, keys",
        "and folders by itself and passes every other `VITRINE_…` variable of its own environment on.",
        "",
    ]
    return (
        "\n".join([*head, *(line for title, kind in SECTIONS for line in section(title, kind))]).rstrip()
        + "\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
