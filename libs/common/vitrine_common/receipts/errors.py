"""What can be wrong with a receipt; each message says it in plain words."""

from __future__ import annotations

from vitrine_common.errors import Invalid


class Malformed(Invalid):
    """What was given is no receipt, key file or opening, or has been altered in its form."""

    title = "Not a receipt"


class BadKey(Invalid):
    """A signing key cannot be used."""

    title = "The signing key cannot be used"
