"""Links, tokens and invites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vitrine_api import blindness, views
from vitrine_api.blind_use import Use
from vitrine_api.link_wishes import rate_words
from vitrine_api.links import NewLink
from vitrine_api.presenters.models import version_url
from vitrine_api.qr import embed_html, qr_svg
from vitrine_api.specs import spec_of
from vitrine_common.documents import ApiToken, Invite, ShareLink, Version


def link_rows(
    links: Iterable[ShareLink], versions: Mapping[str, Version], use: Mapping[str, Use]
) -> tuple[views.LinkRow, ...]:
    """Return links as rows, with what their owner may know of their use; none for versions that are gone."""
    return tuple(
        _row(link, versions[link.version_id], use[link.id]) for link in links if link.version_id in versions
    )


def _row(link: ShareLink, version: Version, use: Use) -> views.LinkRow:
    return views.LinkRow(
        id=link.id,
        reference=version.reference,
        version_url=version_url(version),
        access=link.access,
        state=use.state(link),
        created_at=link.created_at,
        label=link.label,
        recipient=link.recipient,
        blind=link.blind,
        in_aggregate=use.blind,
        buckets=tuple(
            views.UseBucket(
                since=one.since,
                until=one.until,
                runs=one.runs,
                failed=one.failed,
                p50_ms=one.p50_ms,
                p95_ms=one.p95_ms,
            )
            for one in use.buckets
        ),
        expires_at=link.expires_at,
        runs=use.runs,
        opened=use.opened,
        max_runs=link.max_runs,
        rate=rate_words(link.rate_runs, link.rate_seconds) if link.rate_runs else "",
        max_input_bytes=link.max_input_bytes,
        has_passcode=link.passcode_hash is not None,
        emails=len(link.emails),
        embed_origins=tuple(link.embed_origins),
        opened_at=None if use.blind else link.last_run_at,
        url=f"/s/{link.public_token}" if link.public_token else None,
    )


def new_links(made: Iterable[NewLink], base_url: str) -> tuple[views.NewLink, ...]:
    """Return links just made as they are shown this once."""
    return tuple(_new_link(one, base_url) for one in made)


def _new_link(made: NewLink, base_url: str) -> views.NewLink:
    url, link = f"{base_url}/s/{made.token}", made.link
    embed_url = f"{base_url}/e/{made.token}"
    return views.NewLink(
        url=url,
        qr=qr_svg(url),
        recipient=link.recipient,
        passcode=made.passcode,
        embed=embed_html(embed_url, blindness.title(link, made.version)) if link.embed_origins else None,
    )


def exhibits(links: Iterable[ShareLink], versions: Mapping[str, Version]) -> tuple[views.PublicModel, ...]:
    """Return public links as the front page shows them: one for each version."""
    newest = {link.version_id: link for link in links if link.public_token and link.version_id in versions}
    return tuple(_exhibit(link, versions[link.version_id]) for link in newest.values())


def _exhibit(link: ShareLink, version: Version) -> views.PublicModel:
    spec = spec_of(version)
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
        model=invite.model,
    )
