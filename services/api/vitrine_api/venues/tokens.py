"""Tokens of a venue: of its page for authors, of reviewers' pages, of its share links.

They follow from the venue's key (HMAC-SHA-256, 128 bits), so that they can be shown and mailed again; what
is looked up is their hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from vitrine_common.documents import Venue, VenueReviewer

TOKEN_BYTES = 16


def _derive(key: str, purpose: str) -> str:
    mac = hmac.new(bytes.fromhex(key), purpose.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac[:TOKEN_BYTES]).decode().rstrip("=")


def submit_token(venue_id: str, key: str) -> str:
    """Return the token of the page on which authors submit."""
    return _derive(key, f"submit:{venue_id}")


def reviewer_token(venue: Venue, reviewer_id: str, revision: int) -> str:
    """Return the token of a reviewer's page; another revision, another token."""
    return _derive(venue.key, f"reviewer:{reviewer_id}:{revision}")


def link_token(venue: Venue, link_id: str) -> str:
    """Return the token of one of the venue's share links."""
    return _derive(venue.key, f"link:{link_id}")


def submit_url(base_url: str, venue: Venue) -> str:
    """Return the address at which authors submit."""
    return f"{base_url}/v/{submit_token(venue.id, venue.key)}"


def reviewer_url(base_url: str, venue: Venue, reviewer: VenueReviewer) -> str:
    """Return the address of a reviewer's page."""
    return f"{base_url}/r/{reviewer_token(venue, reviewer.id, reviewer.revision)}"
