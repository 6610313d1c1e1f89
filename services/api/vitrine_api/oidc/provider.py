"""The provider: what it says of itself, where it is asked, and what of its answers is believed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from vitrine_api.oidc.attempts import Attempt
from vitrine_api.settings import ApiSettings, is_safe_address
from vitrine_common.errors import Denied, Unavailable

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

CALLBACK = "/login/oidc/callback"
_SCOPES = "openid email profile"
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
"""Signatures by a key pair. Neither `none` nor HS256: whoever knows the client secret could make those."""
_KEPT_SECONDS = 3600.0
_ASKED_AGAIN_SECONDS = 30.0
"""Least pause between two looks for a key that is not among those known."""
_TIMEOUT_SECONDS = 10.0
_LEEWAY_SECONDS = 60


@dataclass(frozen=True)
class Told:
    """What a provider told of whoever logged in."""

    issuer: str
    subject: str
    """Names the account at the issuer, for ever; an address may be given to somebody else."""
    email: str = ""
    is_verified: bool = False
    """Whether the provider vouches for the address."""
    user_name: str = ""


class Metadata(BaseModel):
    """The discovery document (OpenID Connect Discovery 1.0), as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False


class Provider:
    """Asks the provider of the settings. Its description and keys are kept for an hour."""

    def __init__(self, settings: ApiSettings) -> None:
        self.issuer = settings.oidc_issuer
        self.name = settings.oidc_name if self.issuer else ""
        self._client_id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret.get_secret_value()
        self._redirect_uri = f"{settings.base_url}{CALLBACK}"
        self._trusts_emails = settings.oidc_trusts_emails
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def authorization_url(self, attempt: Attempt) -> str:
        """Return where a browser is sent to log in. Raises Unavailable."""
        metadata = await self._described()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": _SCOPES,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{joint}{urlencode(query)}"

    async def redeem(self, attempt: Attempt, code: str, issuer: str = "") -> Told:
        """Return whom the code of an answer is about.

        Args:
            attempt: the try that the answer belongs to.
            code: the answer's.
            issuer: who says that it answers (RFC 9207); some providers do not say.

        Raises Denied for what cannot be believed, Unavailable.
        """
        metadata = await self._described()
        if issuer != self.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            raise Denied(f"this answer is not from {self.name}; log in again")
        answer = await self._exchanged(metadata, attempt, code)
        claims = await self._checked(metadata, str(answer.get("id_token") or ""), attempt.nonce)
        if not claims.get("email") and metadata.userinfo_endpoint and answer.get("access_token"):
            claims |= await self._more(metadata.userinfo_endpoint, str(answer["access_token"]), claims["sub"])
        return Told(
            issuer=self.issuer,
            subject=claims["sub"],
            email=str(claims.get("email") or "").strip().lower(),
            is_verified=self._trusts_emails or claims.get("email_verified") in {True, "true"},
            user_name=str(claims.get("preferred_username") or ""),
        )

    async def _exchanged(self, metadata: Metadata, attempt: Attempt, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": attempt.verifier,
        }
        auth: httpx.BasicAuth | None = None
        if self._secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            auth = httpx.BasicAuth(quote(self._client_id, safe=""), quote(self._secret, safe=""))
        else:
            form |= {"client_id": self._client_id}
            form |= {"client_secret": self._secret} if self._secret else {}
        return await self._asked("POST", metadata.token_endpoint, data=form, auth=auth)

    async def _checked(self, metadata: Metadata, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token (OpenID Connect Core, 3.1.3.7)."""
        from joserfc import errors, jwt  # only instances with a provider pay for it

        registry = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            try:
                read = jwt.decode(token, await self._key_set(metadata), _ALGORITHMS)
            except errors.InvalidKeyIdError:
                read = jwt.decode(token, await self._key_set(metadata, anew=True), _ALGORITHMS)
            registry.validate(read.claims)
        except (errors.JoseError, ValueError) as error:
            raise Denied(f"what {self.name} said cannot be believed ({error}); log in again") from error
        claims = dict(read.claims)
        others = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", self._client_id) != self._client_id or (others and "azp" not in claims):
            raise Denied(f"what {self.name} said is meant for somebody else; log in again")
        return claims

    async def _more(self, url: str, access_token: str, subject: str) -> dict[str, Any]:
        """Return the address from the provider's user info, which must be about the same account."""
        found = await self._asked("GET", url, headers={"Authorization": f"Bearer {access_token}"})
        if found.get("sub") != subject:
            raise Denied(f"what {self.name} said is about somebody else; log in again")
        names = ("email", "email_verified", "preferred_username")
        return {name: found[name] for name in names if name in found}

    async def _described(self) -> Metadata:
        if self._metadata is not None and self._metadata[0] > time.monotonic():
            return self._metadata[1]
        path = "/.well-known/openid-configuration"
        found = await self._asked("GET", f"{self.issuer.rstrip('/')}{path}")
        try:
            metadata = Metadata.model_validate(found)
        except ValidationError as error:
            raise self._unusable(f"its {path} lacks something: {error.errors()[0]['loc']}") from error
        if metadata.issuer != self.issuer:
            raise self._unusable(f"it calls itself {metadata.issuer}, the settings call it {self.issuer}")
        ends = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        for url in (*ends, metadata.userinfo_endpoint or metadata.jwks_uri):
            if not is_safe_address(url):
                raise self._unusable(f"{url} is no https address")
        self._metadata = (time.monotonic() + _KEPT_SECONDS, metadata)
        return metadata

    async def _key_set(self, metadata: Metadata, *, anew: bool = False) -> KeySet:
        from joserfc import errors, jwk  # only instances with a provider pay for it

        now = time.monotonic()
        age = _ASKED_AGAIN_SECONDS if anew else _KEPT_SECONDS
        if self._keys is not None and now - self._keys[0] < age:
            return self._keys[1]
        keys = []
        for one in (await self._asked("GET", metadata.jwks_uri)).get("keys") or []:
            try:
                keys.append(jwk.import_key(one))
            except (errors.JoseError, ValueError, TypeError, KeyError):
                continue  # of a kind that is not known here; those that are may do
        self._keys = (now, jwk.KeySet(keys))
        return self._keys[1]

    async def _asked(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """Return the provider's JSON object. Raises Denied for a refusal of a code, Unavailable."""
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as client:
                answer = await client.request(
                    method,
                    url,
                    headers={"Accept": "application/json", **options.pop("headers", {})},
                    **options,
                )
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"{self.name} does not answer as it should; try again in a moment") from error
        if answer.status_code == 400 and isinstance(found, dict) and found.get("error") == "invalid_grant":
            raise Denied("this login was used or is too old; log in again")
        if answer.status_code != 200 or not isinstance(found, dict):
            raise self._unusable(f"{urlsplit(url).path} answers {answer.status_code}")
        return found

    def _unusable(self, why: str) -> Unavailable:
        return Unavailable(f"{self.name} cannot be used ({why}); tell whoever operates this instance")
