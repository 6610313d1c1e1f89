"""Errors: a page of their own, or a fragment where a form was sent by script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitrine_api.views.page import FieldProblem, View


@dataclass(frozen=True, kw_only=True)
class ErrorPage(View):
    """A whole page; words are found by `status`, and `message` says what exactly."""

    template: ClassVar[str] = "error.html"

    status: int
    message: str = ""
    problems: tuple[FieldProblem, ...] = ()
    back_url: str = "/"
    """The way out."""
    request_id: str = ""
    retry_after: float | None = None
    """Seconds, for 429 and 503."""


@dataclass(frozen=True, kw_only=True)
class ErrorNotice(ErrorPage):
    """A fragment for the place where the answer would have appeared (header `HX-Request`)."""

    template: ClassVar[str] = "fragments/error_notice.html"
