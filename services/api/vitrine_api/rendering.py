"""Makes HTML of views: one strict, autoescaping template environment for the whole service."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from vitrine_api import formats
from vitrine_api.markdown import render_markdown
from vitrine_api.wording import explain_run, explain_status

if TYPE_CHECKING:
    from vitrine_api.views.page import RequestContext, View

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
STATIC_URL = "/static"
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
"""What the pages need; they have no inline script or style, and nothing from elsewhere."""


def embed_policy(origins: Sequence[str]) -> str:
    """Return the policy of pages that pages of `origins` may show in a frame; they cannot leave the frame."""
    return (
        f"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors {' '.join(origins)}; "
        "object-src 'none'; "
        "sandbox allow-scripts allow-forms allow-same-origin allow-downloads allow-modals allow-popups "
        "allow-popups-to-escape-sandbox"
    )


def render(view: View, context: RequestContext) -> str:
    """Return the HTML of `view`.

    The template sees the view's fields by name, the view itself as `view`, and the request as `request`.

    Raises:
        jinja2.UndefinedError: the template uses a name that the view does not have (a programming error).
    """
    values = {field.name: getattr(view, field.name) for field in fields(view)}
    return _environment().get_template(view.template).render(**values, view=view, request=context)


@cache
def static_url(path: str) -> str:
    """Return the address of a static file; it changes with the content, so it may be cached for ever.

    Raises:
        FileNotFoundError: there is no such file.
    """
    content = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()
    return f"{STATIC_URL}/{path}?v={content[:12]}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        auto_reload=False,  # it would look at every file of a page each time
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=formats.size,
        duration=formats.duration,
        number=formats.number,
        percent=formats.percent,
        day=formats.day,
        moment=formats.moment,
        short_digest=formats.digest,
        state_name=formats.state,
        tone=formats.tone,
        shorten=formats.shorten,
        markdown=render_markdown,
        relative=_relative,
    )
    environment.globals.update(static=static_url, explain_run=explain_run, explain_status=explain_status)
    return environment


@jinja2.pass_context
def _relative(context: jinja2.runtime.Context, value: datetime | None) -> str:
    return formats.relative(value, context["request"].now)
