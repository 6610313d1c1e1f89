"""Links, tokens and invites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vitrine_api import views
from vitrine_api.links import link_state
from vitrine_api.presenters.models import version_url
from vitrine_common.documents import ApiToken, Invite, ShareLink, Version
from vitrine_common.spec import Spec


def link_rows(links: Iterable[ShareLink], versions: Mapping[str, Version]) -> tuple[views.LinkRow, ...]:
    """Return links as rows; one whose version is gone is left out."""
    return tuple(_row(link, versions[link.version_id]) for link in links if link.version_id in versions)


def _row(link: ShareLink, version: Version) -> views.LinkRow:
    return views.LinkRow(
        id=link.id,
        reference=version.reference,
        version_url=version_url(version),
        access=link.access,
        state=link_state(link),
        created_at=link.created_at,
        label=link.label,
        expires_at=link.expires_at,
        runs=link.runs_used,
        max_runs=link.max_runs,
        opened_at=link.last_run_at,
        url=f"/s/{link.public_token}" if link.public_token else None,
    )


def exhibits(links: Iterable[ShareLink], versions: Mapping[str, Version]) -> tuple[views.PublicModel, ...]:
    """Return public links as the front page shows them: one for each version."""
    newest = {link.version_id: link for link in links if link.public_token and link.version_id in versions}
    return tuple(_exhibit(link, versions[link.version_id]) for link in newest.values())


def _exhibit(link: ShareLink, version: Version) -> views.PublicModel:
    spec = Spec.model_validate(version.spec)
    return views.PublicModel(
        title=version.model,
        url=f"/s/{link.public_token}",
        description=spec.description or "",
        owner=version.owner,
        input_kinds=tuple(dict.fromkeys(item.type for item in spec.effective_inputs())),
        output_kinds=tuple(dict.fromkeys(item.type for item in spec.effective_outputs())),
    )


def token_row(token: ApiToken) -> views.TokenRow:
    """Return a token as a row."""
    return views.TokenRow(
        id=token.id,
        name=token.label,
        scopes=tuple(token.scopes),
        created_at=token.created_at,
        used_at=token.last_used_at,
        expires_at=token.expires_at,
    )


def invite_row(invite: Invite) -> views.InviteRow:
    """Return an invite as a row."""
    return views.InviteRow(
        id=invite.id,
        created_at=invite.created_at,
        expires_at=invite.expires_at,
        email=invite.email or "",
        used_by=invite.used_by,
    )
