"""A small OpenID Connect provider, with ways to misbehave: who logs in is decided by the test."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Request
from joserfc import jwk, jwt
from starlette.responses import JSONResponse, RedirectResponse, Response

from servers import free_port

CLIENT_ID = "vitrine of the lab"
CLIENT_SECRET = "a secret: with signs/&="


@dataclass
class Provider:
    """What it is asked and what it answers; `claims` are those of whoever logs in next."""

    port: int = field(default_factory=free_port)
    key: Any = field(default_factory=lambda: jwk.ECKey.generate_key("P-256", {"kid": "first"}))
    algorithm: str = "ES256"
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)
    spoil: Callable[[str], str] = str
    """Alters the ID token on its way."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """Queries of the authorization endpoint."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    key_looks: int = 0

    @property
    def issuer(self) -> str:
        """How it calls itself."""
        return f"http://127.0.0.1:{self.port}"

    def person(self, name: str, **claims: Any) -> None:
        """Let somebody log in next."""
        known = {"sub": f"id-of-{name}", "email": f"{name}@lab.example", "email_verified": True}
        self.claims = {**known, "preferred_username": name, **claims}

    def description(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=lab",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/me",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            **self.described,
        }

    def authorized(self, query: dict[str, str]) -> str:
        """Let whoever comes in, and return where their browser goes."""
        self.asked.append(query)
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"]})
        return f"{query['redirect_uri']}?{back}"

    def redeemed(self, form: dict[str, str], authorization: str) -> Response:
        """Give tokens for a code, once, to whoever began."""
        query = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if query is None or query["code_challenge"] != challenge or query["code_challenge_method"] != "S256":
            return JSONResponse({"error": "invalid_grant"}, 400)
        if query["redirect_uri"] != form["redirect_uri"] or not _is_client(authorization):
            return JSONResponse({"error": "invalid_client"}, 401)
        return JSONResponse({"access_token": "of-me", "token_type": "Bearer", "id_token": self.token(query)})

    def token(self, query: dict[str, str]) -> str:
        """The ID token."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
            **self.claims,
        }
        header = {"alg": self.algorithm, "kid": self.key.kid}
        return self.spoil(jwt.encode(header, claims, self.key, [self.algorithm]))


def _is_client(authorization: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    name, _, secret = base64.b64decode(given).decode().partition(":")
    # Form-encoded before they are joined: RFC 6749, 2.3.1.
    expected = ("vitrine%20of%20the%20lab", "a%20secret%3A%20with%20signs%2F%26%3D")
    return scheme == "Basic" and (name, secret) == expected


def application(provider: Provider) -> FastAPI:
    """The provider's endpoints."""
    app = FastAPI()

    @app.get("/.well-known/openid-configuration")
    async def description() -> dict[str, Any]:
        return provider.description()

    @app.get("/keys")
    async def keys() -> dict[str, Any]:
        provider.key_looks += 1
        unknown = {"kty": "of-the-future", "kid": "unknown"}
        return {"keys": [unknown, provider.key.as_dict(private=False)]}

    @app.get("/authorize")
    async def authorize(request: Request) -> Response:
        return RedirectResponse(provider.authorized(dict(request.query_params)), 303)

    @app.post("/token")
    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        return provider.redeemed(form, request.headers.get("authorization", ""))

    @app.get("/me")
    async def me(request: Request) -> Response:
        is_known = request.headers.get("authorization") == "Bearer of-me"
        return JSONResponse(provider.userinfo if is_known else {}, 200 if is_known else 401)

    return app


@asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    """Run a provider while the block runs."""
    provider = Provider()
    config = uvicorn.Config(
        application(provider), port=provider.port, log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.02)
    yield provider
    server.should_exit = True
    await serving
