"""Messages about environments."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from vitrine_common.messages.envelope import Command, Event, Progress


class EnvironmentRequest(BaseModel):
    """What an environment shall hold; equal requests with an equal index give equal locks.

    `requirements_digest` names the requirements file's bytes, and the name which form it has;
    `requirements` is a list in its place; `preset` names a list that the platform keeps, for models
    that bring no requirements of their own. At most one is set, none for an environment with nothing
    but Python. `extras` are optional lists of the file; `refresh` forgets what the index said before.
    `system` are Debian packages beside them, `system_file_digest` the bytes of a file with more of them.
    `environment_digest` alone asks for an environment that was made before, from the lock that is kept.
    `store` is the mark of the environments' folder that the asker sees, "" where it has none: a builder that
    works in another one packs the environment for it (see `vitrine_common.replicas`).
    """

    model_config = ConfigDict(frozen=True)

    python: str = "3.11"
    package_type: Literal["pip"] = "pip"
    requirements_digest: str | None = None
    requirements_name: str = "requirements.txt"
    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    preset: Literal["onnx"] | None = None
    system: tuple[str, ...] = ()
    system_file_digest: str | None = None
    system_file_name: str = "packages.txt"
    environment_digest: str | None = None
    store: str | None = None
    refresh: bool = False


class BuildStart(Command):
    """Make the environment; `build_id` is chosen by whoever asks, so asking twice is asking once."""

    TYPE: ClassVar[str] = "build.start"

    build_id: str
    request: EnvironmentRequest


class BuildSucceeded(Event):
    """The environment is there."""

    TYPE: ClassVar[str] = "build.succeeded"

    build_id: str
    environment_digest: str


class BuildFailed(Event):
    """The environment cannot be made; the reason stands in the build's document."""

    TYPE: ClassVar[str] = "build.failed"

    build_id: str
    reason: str


class BuildProgress(Progress):
    """One step of a build, live."""

    TYPE: ClassVar[str] = "build.progress"

    build_id: str
    step: Literal[
        "queued",
        "resolve",
        "system",
        "download",
        "unpack",
        "compile",
        "assemble",
        "load",
        "push",
        "replicate",
        "done",
        "failed",
    ]
    message: str = ""
    done: int | None = None
    total: int | None = None
    unit: Literal["packages", "bytes", "files"] | None = None

    def subject(self) -> str:
        """Return the subject of this one build."""
        return f"build.progress.{self.build_id}"
