"""Everything that an account owns, as one archive of JSON files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

from vitrine_api.policy import Action, Member, require
from vitrine_api.repository.erasure import Erasure
from vitrine_common.documents import (
    AccountUse,
    ApiToken,
    AuditEntry,
    Collaborator,
    Dataset,
    DatasetVersion,
    Document,
    Identity,
    Model,
    Notification,
    Run,
    RunHook,
    RunRequest,
    ShareLink,
    TrainRequest,
    Trial,
    Version,
    Webhook,
)

_OWNED: tuple[type[Document], ...] = (
    Model,
    Version,
    Dataset,
    DatasetVersion,
    ShareLink,
    RunRequest,
    Run,
    TrainRequest,
    Trial,
    Collaborator,
    AuditEntry,
)
_OWN: tuple[type[Document], ...] = (ApiToken, Identity, Notification, Webhook, RunHook, AccountUse)
_LEFT_OUT = {
    *("password_hash", "token_hash", "passcode_hash", "secret", "previous_secret", "key", "public_token"),
    # Of a blind link its owner learns whole days alone.
    *("opened", "runs_used", "rate_times", "rate_revision", "last_run_at", "blind_runs"),
    *("lease_token", "lease_holder", "lease_expires_at", "trace"),
}


class AccountExport:
    """Makes archives. Runs that visitors made by links are theirs, and stand in none."""

    def __init__(self, erasure: Erasure) -> None:
        self._documents = erasure

    async def archive(self, member: Member) -> bytes:
        """Return a ZIP file with a JSON file for each kind of thing."""
        require(member, Action.OPEN, None)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("account.json", _json([member.user]))
            for field, kinds in (("owner_id", _OWNED), ("user_id", _OWN)):
                for kind in kinds:
                    found = await self._documents.all_of(kind, {field: member.id})
                    kept = [item for item in found if getattr(item, "link_id", None) is None]
                    archive.writestr(f"{kind.COLLECTION}.json", _json(kept))
        return packed.getvalue()


def _json(items: Sequence[Document]) -> str:
    told = [item.model_dump(mode="json", exclude=_LEFT_OUT) for item in items]
    return json.dumps(told, indent=1, ensure_ascii=False)
