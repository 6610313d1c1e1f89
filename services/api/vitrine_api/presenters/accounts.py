"""Sessions and collaborators."""

from __future__ import annotations

from vitrine_api import formats, views
from vitrine_api.quotas import NEAR_PERCENT, QuotaUse
from vitrine_api.sessions import OpenSession
from vitrine_common.documents import Collaborator, Identity

_BROWSERS = ("Firefox", "Edg", "OPR", "Chrome", "Safari")
_SYSTEMS = ("Windows", "Android", "iPhone", "iPad", "Mac OS", "Linux")
_NAMES = {"Edg": "Edge", "OPR": "Opera", "Mac OS": "macOS"}


def device_label(agent: str) -> str:
    """Return a browser's name and system from its `User-Agent`, for its owner to recognise."""
    browser = next((name for name in _BROWSERS if name in agent), "")
    system = next((name for name in _SYSTEMS if name in agent), "")
    return " on ".join(_NAMES.get(part, part) for part in (browser, system) if part) or "A browser"


def quota_row(use: QuotaUse) -> views.QuotaRow:
    """Return a quota as a row, in units that people read."""
    share = 100 if not use.limit else min(100, use.used * 100 // use.limit)
    return views.QuotaRow(
        title=use.title,
        used=_amount(use.used, use.unit),
        limit=_amount(use.limit, use.unit),
        share=share,
        near=share >= NEAR_PERCENT,
    )


def _amount(number: int, unit: str) -> str:
    if unit == "bytes":
        return formats.size(number)
    return f"{number / 60:,.0f} min" if unit == "seconds" else f"{number:,}"


def session_row(session: OpenSession) -> views.SessionRow:
    """Return a web login as a row."""
    return views.SessionRow(
        id=session.id,
        label=session.label or "A browser",
        created_at=session.created_at,
        expires_at=session.expires_at,
        current=session.current,
    )


def identity_row(found: Identity) -> views.IdentityRow:
    """Return a provider's account as a row."""
    return views.IdentityRow(
        id=found.id,
        title=found.email or found.subject,
        issuer=found.issuer,
        created_at=found.created_at,
    )


def collaboration_row(found: Collaborator) -> views.CollaborationRow:
    """Return who works on what as a row."""
    return views.CollaborationRow(model=found.model, name=found.name, created_at=found.created_at)
