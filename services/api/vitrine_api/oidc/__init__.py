"""Logging in by an OpenID Connect provider (OpenID Connect Core 1.0): code flow, state, nonce, PKCE."""

from vitrine_api.oidc.attempts import ATTEMPT_COOKIE, ATTEMPT_SECONDS, Attempt
from vitrine_api.oidc.identities import Identities
from vitrine_api.oidc.provider import CALLBACK, Provider

__all__ = ["ATTEMPT_COOKIE", "ATTEMPT_SECONDS", "CALLBACK", "Attempt", "Identities", "Provider"]
