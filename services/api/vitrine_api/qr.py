"""A link's address in other forms: a QR code (ISO/IEC 18004), and HTML to embed it."""

from __future__ import annotations

from html import escape

import segno
from markupsafe import Markup

SANDBOX = "allow-scripts allow-forms allow-same-origin allow-downloads allow-popups allow-modals"


def qr_svg(text: str) -> Markup:
    """Return a QR code as an SVG element without styles, which the pages' policy would not allow."""
    drawn = segno.make(text, error="m", micro=False)
    picture = drawn.svg_inline(
        border=4, omitsize=True, dark="#000", light="#fff", svgclass="qr", lineclass=None
    )
    return Markup(picture)  # noqa: S704 - made of modules, not of the text


def embed_html(embed_url: str, title: str) -> str:
    """Return HTML for a page of another site that shows a link in a frame."""
    return (
        f'<iframe src="{escape(embed_url)}" title="{escape(title)}" width="100%" height="720" '
        f'sandbox="{SANDBOX}" allow="camera; microphone; clipboard-write" '
        'loading="lazy" referrerpolicy="no-referrer"></iframe>'
    )
