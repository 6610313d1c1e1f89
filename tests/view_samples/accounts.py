"""Samples of the pages about accounts."""

from __future__ import annotations

from view_samples.visitor import ANONYMOUS, OWNER, ago
from vitrine_api import views as v

ACCOUNT_SAMPLES: dict[str, tuple[v.View, v.RequestContext]] = {
    "reset": (v.Forgotten(), ANONYMOUS),
    "reset-sent": (v.Forgotten(sent=True), ANONYMOUS),
    "new-password": (v.NewPassword(ticket="t1", name="ada"), ANONYMOUS),
    "confirm-email": (v.ConfirmEmail(ticket="t1"), ANONYMOUS),
    "join": (v.Join(invite="i1", model="ada/echo", inviter="ada"), ANONYMOUS),
    "confirm-deletion": (v.ConfirmDeletion(kind="account", reference="ada"), OWNER),
    "collaborators": (
        v.Collaborators(
            owner="ada",
            name="echo",
            people=(v.CollaborationRow(model="ada/echo", name="eva", created_at=ago(hours=1)),),
        ),
        OWNER,
    ),
}
