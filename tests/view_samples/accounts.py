"""Samples of the pages about accounts."""

from __future__ import annotations

from dataclasses import replace

from view_samples.visitor import ANONYMOUS, OWNER, ago
from vitrine_api import views as v

ACCOUNT_SAMPLES: dict[str, tuple[v.View, v.RequestContext]] = {
    "reset": (v.Forgotten(), ANONYMOUS),
    "reset-sent": (v.Forgotten(sent=True), ANONYMOUS),
    "new-password": (v.NewPassword(ticket="t1", name="ada"), ANONYMOUS),
    "confirm-email": (v.ConfirmEmail(ticket="t1"), ANONYMOUS),
    "login-by-provider": (
        v.Login(next_url="/links"),
        replace(ANONYMOUS, path="/login", provider="the University of Somewhere"),
    ),
    "go-on": (v.GoOn(url="#go-on"), replace(OWNER, provider="single sign-on")),
    "settings-provider": (
        v.Settings(
            tokens=(),
            has_password=False,
            identities=(
                v.IdentityRow(
                    id="a" * 64,
                    title="ada@lab.example",
                    issuer="https://login.lab.example/realms/research",
                    created_at=ago(days=3),
                ),
            ),
        ),
        replace(OWNER, path="/settings", provider="single sign-on"),
    ),
    "join": (v.Join(invite="i1", model="ada/echo", inviter="ada"), ANONYMOUS),
    "confirm-deletion": (v.ConfirmDeletion(kind="account", reference="ada"), OWNER),
    "confirm-deletion-version": (v.ConfirmDeletion(kind="version", reference="ada/echo@3"), OWNER),
    "collaborators": (
        v.Collaborators(
            owner="ada",
            name="echo",
            people=(v.CollaborationRow(model="ada/echo", name="eva", created_at=ago(hours=1)),),
        ),
        OWNER,
    ),
}
