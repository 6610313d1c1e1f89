"""One try to log in, kept in the browser that makes it.

The cookie holds one random secret. State, nonce and PKCE verifier follow from it by HMAC, so that none of
them tells another, and the api keeps nothing: an answer belongs to the browser whose cookie fits it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from vitrine_api.credentials import new_secret

ATTEMPT_COOKIE = "vitrine_oidc"
ATTEMPT_SECONDS = 600
Purpose = Literal["login", "connect"]
_COOKIE = re.compile(r"([A-Za-z0-9_-]{43})\.([a-z]{1,10})\.([A-Za-z0-9_-]{0,1000})")


@dataclass(frozen=True)
class Attempt:
    """A try under way.

    Args:
        secret: 256 random bits that only the browser has.
        purpose: to log in, or to connect the provider's account to the one that is logged in.
        next_url: where to go afterwards.
    """

    secret: str
    purpose: Purpose
    next_url: str

    @classmethod
    def begin(cls, purpose: Purpose, next_url: str) -> Attempt:
        """Return a new one."""
        return cls(new_secret(), purpose, next_url)

    @classmethod
    def read(cls, cookie: str) -> Attempt | None:
        """Return the one that a cookie holds, or None."""
        match = _COOKIE.fullmatch(cookie)
        if match is None or match[2] not in get_args(Purpose):
            return None
        padded = match[3] + "=" * (-len(match[3]) % 4)
        try:
            next_url = base64.urlsafe_b64decode(padded).decode()
        except ValueError:
            return None
        return cls(match[1], cast("Purpose", match[2]), next_url)

    @property
    def cookie(self) -> str:
        """What the browser keeps."""
        place = base64.urlsafe_b64encode(self.next_url.encode()).decode().rstrip("=")
        return f"{self.secret}.{self.purpose}.{place}"

    @property
    def state(self) -> str:
        """What comes back with the answer, so that no other site can begin a login here."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """What stands in the ID token, so that none is used twice."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What redeems the code; a code that was read on the way is worth nothing (RFC 7636)."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """The S256 challenge of the verifier."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def is_answered_by(self, state: str) -> bool:
        """Say whether an answer belongs to this try; in constant time."""
        return hmac.compare_digest(state.encode(), self.state.encode())

    def _derived(self, use: str) -> str:
        return hmac.new(self.secret.encode(), use.encode(), hashlib.sha256).hexdigest()
