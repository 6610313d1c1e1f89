"""Models and their versions, as their owner sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.claims import ClaimsTable
from vitrine_api.views.environments import EnvironmentSummary
from vitrine_api.views.links import LinkRow
from vitrine_api.views.monitoring import MonitorSummary
from vitrine_api.views.page import Fact, Paging, View
from vitrine_api.views.runs import RunRow
from vitrine_api.views.trials import TrialRow


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """A model in the list, with the state of its newest version."""

    owner: str
    name: str
    title: str
    url: str
    updated_at: datetime
    description: str = ""
    version: str = ""
    state: str = "draft"
    versions: int = 0


@dataclass(frozen=True, kw_only=True)
class Models(View):
    """`/models`: one's models."""

    template: ClassVar[str] = "models.html"

    models: tuple[ModelRow, ...]
    query: str = ""
    """Words that the list is limited to."""
    sort: str = "updated"
    """`updated`, `created` or `name`."""
    paging: Paging = field(default_factory=Paging)
    api_url: str = ""
    """This server's address, for the commands shown when there is no model yet."""


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """A version in a model's list."""

    version: str
    url: str
    digest: str
    state: str
    created_at: datetime
    labels: tuple[str, ...] = ()
    message: str = ""
    """Why its build failed."""
    size: int = 0
    """Bytes of its bundle."""
    diff_url: str = ""
    """Where it is compared with the version before."""


@dataclass(frozen=True, kw_only=True)
class Model(View):
    """`/models/{owner}/{name}`."""

    template: ClassVar[str] = "model.html"

    owner: str
    name: str
    title: str
    versions: tuple[VersionRow, ...]
    paging: Paging = field(default_factory=Paging)
    description: str = ""
    card: str = ""
    runs: tuple[RunRow, ...] = ()
    links: tuple[LinkRow, ...] = ()
    trials: tuple[TrialRow, ...] = ()
    owned: bool = True
    """Whether the reader may invite collaborators and delete it."""


@dataclass(frozen=True, kw_only=True)
class BuildView:
    """The making of a version's environment."""

    id: str
    state: str
    """queued, building, succeeded, failed."""
    created_at: datetime
    finished_at: datetime | None = None
    step: str = ""
    """What is going on, e.g. `resolving 12 requirements`."""
    progress: float | None = None
    """From 0 to 1."""
    message: str = ""
    """The reason that a person can act on, when it failed."""
    passes: bool = False
    """Whether the same may be made later, without a change."""
    log_tail: str = ""
    total_ms: float | None = None
    cached: bool = False
    """Whether nothing had to be made."""
    steps: tuple[tuple[str, float], ...] = ()
    """What each step took, in milliseconds; steps overlap."""

    @property
    def is_final(self) -> bool:
        """Tell whether nothing will change any more."""
        return self.state in {"succeeded", "failed"}

    @property
    def events_url(self) -> str:
        """Address of its event stream."""
        return f"/builds/{self.id}/events"


@dataclass(frozen=True, kw_only=True)
class BuildProgress(View):
    """Fragment of a build's events `status`, `progress` and `done`."""

    template: ClassVar[str] = "fragments/build_progress.html"

    build: BuildView


@dataclass(frozen=True, kw_only=True)
class InterfaceRow:
    """One input or output of the model file."""

    name: str
    type: str
    detail: str = ""
    """Range, choices, default and the like, in words."""


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """A file of the bundle."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Version(View):
    """`/models/{owner}/{name}/versions/{version}`."""

    template: ClassVar[str] = "version.html"

    owner: str
    name: str
    title: str
    version: str
    digest: str
    state: str
    created_at: datetime
    model_url: str
    monitor_url: str
    diff_url: str = ""
    """Where it is compared with the version before, if there is one."""
    labels: tuple[str, ...] = ()
    description: str = ""
    card: str = ""
    facts: tuple[Fact, ...] = ()
    """Kind, command, resources and the like."""
    inputs: tuple[InterfaceRow, ...] = ()
    outputs: tuple[InterfaceRow, ...] = ()
    files: tuple[FileRow, ...] = ()
    build: BuildView | None = None
    environment: EnvironmentSummary | None = None
    lineage: tuple[Fact, ...] = ()
    """Where it came from: the trial, the data, the code."""
    monitor: MonitorSummary | None = None
    claims: ClaimsTable | None = None
    runs: tuple[RunRow, ...] = ()
    links: tuple[LinkRow, ...] = ()
    owned: bool = True
    """Whether the reader may delete it."""

    @property
    def reference(self) -> str:
        """Return `owner/model@version`."""
        return f"{self.owner}/{self.name}@{self.version}"
