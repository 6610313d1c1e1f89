"""Runs: their live status, their page, and rows of lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.outputs import AnyOutput
from vitrine_api.views.page import Paging, View

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, kw_only=True)
class InputSummary:
    """One input of a run in a few words; `url` serves the bytes of a file, where the reader may see it."""

    title: str
    text: str
    url: str | None = None
    is_image: bool = False
    identity: str = ""
    """Differs where the bytes differ."""


@dataclass(frozen=True, kw_only=True)
class CodeSample:
    """A run in one language."""

    language: str
    """`curl`, `python` or `cli`."""
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class StreamedText:
    """The end of the text that an output holds so far."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class RunView:
    """One run, as its status fragment and its page show it."""

    id: str
    state: str
    """A run state: queued, starting, running, saving, succeeded, failed, cancelled, expired."""
    created_at: datetime
    token: str | None = None
    """The share link's token where the reader came by a link; decides every address."""
    base: str = ""
    """Where the addresses of runs begin, if not where the token says."""
    reason: str | None = None
    """A run reason, e.g. `user_error` or `timeout`, when it failed."""
    message: str = ""
    """What happened, in the words of the service that ended it."""
    finished_at: datetime | None = None
    queued_ms: float | None = None
    """Time until a worker took it."""
    cold_start_ms: float | None = None
    """Time to start the model; None where it was warm."""
    compute_ms: float | None = None
    """The model's own time."""
    attempt: int = 0
    """How often it was begun: more than once where a worker stopped."""
    total_ms: float | None = None
    progress: float | None = None
    """From 0 to 1, where the model says."""
    progress_text: str = ""
    ahead: int | None = None
    """Runs waiting before this one."""
    wait_ms: float | None = None
    """About how long until it begins, where something tells."""
    code: tuple[CodeSample, ...] = ()
    """The same run as code."""
    inputs: tuple[InputSummary, ...] = ()
    outputs: tuple[AnyOutput, ...] = ()
    log_tail: str = ""
    show_logs: bool = False
    """Whether the reader may see what the model printed when it has ended (owners)."""
    streams: bool = False
    """Whether what the model prints is its answer, which everybody sees grow while it runs."""
    can_cancel: bool = True
    has_receipt: bool = False
    """Whether the reader may have a signed receipt of it."""
    streamed: tuple[StreamedText, ...] = ()
    """What outputs hold so far, while it runs."""
    permalink: str = ""
    """Address that shows it to others who hold the link; empty where there is none."""

    @property
    def is_final(self) -> bool:
        """Tell whether nothing will change any more."""
        return self.state in FINAL_STATES

    @property
    def url(self) -> str:
        """Address of its page."""
        base = self.base or (f"/s/{self.token}/runs" if self.token else "/runs")
        return f"{base}/{self.id}"

    @property
    def home_url(self) -> str:
        """Address of the link's showcase."""
        return self.base.removesuffix("/runs") or f"/s/{self.token}"

    @property
    def events_url(self) -> str:
        """Address of its event stream: `status`, `progress`, `done`, each with an HTML fragment."""
        return self.url + "/events"

    @property
    def archive_url(self) -> str:
        """Address of everything in one archive."""
        return self.url + "/archive"

    @property
    def compare_url(self) -> str:
        """Where two of a visitor's runs are put side by side; empty for owners."""
        return f"{self.home_url}/compare" if self.token else ""

    @property
    def cancel_url(self) -> str:
        """Where the cancel button posts to."""
        return self.url + "/cancel"


@dataclass(frozen=True, kw_only=True)
class RunStatus(View):
    """Fragment of the events `status` and `done`: all of a run's state, timing, outputs or error."""

    template: ClassVar[str] = "fragments/run_status.html"

    run: RunView


@dataclass(frozen=True, kw_only=True)
class RunProgress(View):
    """Fragment of the event `progress`: the bar, its words, and the tail of the log."""

    template: ClassVar[str] = "fragments/run_progress.html"

    run: RunView


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in a list."""

    id: str
    state: str
    created_at: datetime
    url: str
    reference: str = ""
    """The version reference, in lists that mix versions."""
    summary: str = ""
    """Its inputs in one line."""
    reason: str | None = None
    total_ms: float | None = None
    source: str = ""
    """Who asked: `link`, `api`, `page`, a link's label."""


@dataclass(frozen=True, kw_only=True)
class RunPanel(View):
    """Fragment answering a form sent by script: the run with its live status, and the new history."""

    template: ClassVar[str] = "fragments/run_panel.html"

    run: RunView
    history: tuple[RunRow, ...] | None = None
    """This visitor's runs, newest first; replaces the list on the page."""
    runs_left: int | None = None
    """Runs that the link still allows, where it has a limit; replaces the number on the page."""

    @property
    def compare_url(self) -> str:
        """Where two runs are put side by side."""
        return self.run.compare_url


@dataclass(frozen=True, kw_only=True)
class RunPage(View):
    """`/s/{token}/runs/{id}` and `/runs/{id}`."""

    template: ClassVar[str] = "run.html"

    run: RunView
    model_title: str
    reference: str = ""
    """`owner/model@version`, for owners."""
    version_url: str = ""
    history: tuple[RunRow, ...] = ()
    embedded: bool = False
    """Whether it stands in a frame of another site's page."""

    @property
    def compare_url(self) -> str:
        """Where two runs are put side by side."""
        return self.run.compare_url


@dataclass(frozen=True, kw_only=True)
class ComparedInput:
    """One input of two runs; None where a run did not have it."""

    title: str
    left: InputSummary | None
    right: InputSummary | None

    @property
    def differs(self) -> bool:
        """Tell whether the two were asked differently here."""
        if self.left is None or self.right is None:
            return self.left is not self.right
        return (self.left.text, self.left.identity) != (self.right.text, self.right.identity)


@dataclass(frozen=True, kw_only=True)
class ComparedOutput:
    """One output of two runs."""

    title: str
    left: AnyOutput | None
    right: AnyOutput | None

    @property
    def are_images(self) -> bool:
        """Tell whether both are pictures, which can be laid over each other."""
        return (
            self.left is not None and self.right is not None and self.left.kind == self.right.kind == "image"
        )


@dataclass(frozen=True, kw_only=True)
class Comparison(View):
    """`/s/{token}/compare`: two of a visitor's runs next to each other."""

    template: ClassVar[str] = "compare.html"

    left: RunView
    right: RunView
    inputs: tuple[ComparedInput, ...]
    outputs: tuple[ComparedOutput, ...]
    model_title: str
    home_url: str
    embedded: bool = False
    """Whether it stands in a frame of another site's page."""


@dataclass(frozen=True, kw_only=True)
class RunsPage(View):
    """`/runs`: the owner's runs, newest first."""

    template: ClassVar[str] = "runs.html"

    runs: tuple[RunRow, ...]
    state: str = ""
    """The state that the list is limited to."""
    reference: str = ""
    """The model or version that the list is limited to."""
    link: str = ""
    """Id of the link that the list is limited to."""
    link_name: str = ""
    paging: Paging = field(default_factory=Paging)
