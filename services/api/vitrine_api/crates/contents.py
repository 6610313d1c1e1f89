"""What goes into the archive of a version, and what does not, by who asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from vitrine_api import blindness
from vitrine_api.cards import card_of
from vitrine_api.claims.describing import CheckOut, ClaimOut
from vitrine_api.descriptions import link_view
from vitrine_api.environment_files import files_of
from vitrine_api.environments import Environments
from vitrine_api.policy import Member, Principal, Visitor
from vitrine_api.receipts import NoSigningKey
from vitrine_api.receipts.repository import ReceiptRepository
from vitrine_api.services import Services
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Environment, Receipt, Version
from vitrine_common.receipts.dsse import MEDIA_TYPE, PAYLOAD_TYPE

FILES = "files/"
MAX_RECEIPTS = 1000
_JSON = "application/json"


@dataclass(frozen=True)
class File:
    """A file that is written into the archive."""

    path: str
    data: bytes
    media_type: str
    name: str

    @property
    def size(self) -> int:
        """Its size."""
        return len(self.data)

    @property
    def digest(self) -> str:
        """Its digest."""
        return sha256_bytes(self.data)


@dataclass(frozen=True)
class Stored:
    """A file of the bundle, copied from the store while the archive is sent."""

    path: str
    digest: str
    size: int
    media_type: str = "application/octet-stream"
    name: str = ""


@dataclass(frozen=True)
class Contents:
    """An archive before it is written."""

    title: str
    description: str
    author: str | None
    identifier: str
    version: str
    created_at: datetime
    url: str
    files: tuple[File | Stored, ...]
    receipts: tuple[Receipt, ...]


async def contents_of(
    services: Services,
    principal: Principal,
    version: Version,
    claims: Sequence[ClaimOut],
    checks: Sequence[CheckOut],
    *,
    with_files: bool = False,
) -> Contents:
    """Return what `principal`, who may see `version`, gets of it.

    An owner gets the model file, the manifest and, `with_files`, the bundle. Whoever holds a link gets what
    its page shows, and never weights or source; a blind link tells nothing of whose model it is.
    """
    link = principal.link if isinstance(principal, Visitor) else None
    repository = ReceiptRepository(services.platform.database)
    known = await repository.of_version(version.id, MAX_RECEIPTS)
    receipts = tuple(receipt for receipt in known if _is_theirs(principal, receipt))
    keys = await services.receipts.signer.published()
    environment = await repository.environment(version.environment_digest or "")
    files: list[File | Stored] = [
        _interface(principal, version),
        *_card(await card_of(services, version)),
        *([] if environment is None or (link and link.blind) else await _environment(services, environment)),
        _json("claims.json", "Claims, and how their checks ended", _dumped(claims)),
        _json("checks.json", "Checks of claims", _dumped(checks)),
        *(_receipt(receipt) for receipt in receipts),
        _json("vitrine-keys.json", "Keys that the receipts are checked with", keys.document()),
        *([] if link else await _bundle(services, version, with_files=with_files)),
    ]
    return Contents(
        title=blindness.title(link, version) if link else version.reference,
        description=str(version.spec.get("description") or ""),
        author=blindness.owner(link, version) if link else version.owner,
        identifier=blindness.digest(link, "bundle", version.digest),
        version=blindness.number(link, version) if link else str(version.number),
        created_at=link.created_at if link and link.blind else version.created_at,
        url=services.settings.base_url,
        files=tuple(files),
        receipts=receipts,
    )


async def _bundle(services: Services, version: Version, *, with_files: bool) -> list[File | Stored]:
    manifest = await services.models.manifest(version)
    name = "Paths, sizes and digests of the bundle's files"
    told = _json("manifest.json", name, manifest.model_dump(mode="json"))
    entries = manifest.files if with_files else ()
    stored = [Stored(FILES + entry.path, entry.digest, entry.size, name=entry.path) for entry in entries]
    return [told, *stored]


def _is_theirs(principal: Principal, receipt: Receipt) -> bool:
    """Tell whether a receipt is one's own, or says how a check ended that anybody may know of."""
    if isinstance(principal, Visitor):
        own = (principal.link.id, principal.visitor_id) == (receipt.link_id, receipt.visitor_id)
        told = receipt.kind == "claim" and receipt.link_id is None and blindness.shows_history(principal.link)
        return own or told
    return isinstance(principal, Member) and receipt.owner_id == principal.id and receipt.link_id is None


def _interface(principal: Principal, version: Version) -> File:
    if isinstance(principal, Visitor):
        shown = link_view(principal.link, version).model_dump(
            mode="json", include={"model", "version_digest", "description", "inputs", "outputs"}
        )
        return _json("interface.json", "What the model takes and gives", shown)
    return _json("vitrine.json", "The model file", version.spec)


def _card(text: str) -> list[File]:
    return [File("README.md", text.encode(), "text/markdown", "Model card")] if text else []


async def _environment(services: Services, environment: Environment) -> list[File]:
    lock = File("environment/requirements.lock", environment.lock.encode(), "text/plain", "Locked packages")
    told = environment.model_dump(
        mode="json", include={"packages", "python", "size_bytes", "image_digest", "base_digest", "system"}
    )
    facts = {"digest": environment.id, **told}
    return [
        lock,
        _json("environment/environment.json", "The environment", facts),
        *(
            File(f"environment/{name}", data, "text/plain", "To make the environment again")
            for name, data in files_of(environment).items()
        ),
        *await _supply_chain(services.environments, environment),
    ]


async def _supply_chain(environments: Environments, environment: Environment) -> list[File]:
    if environment.sbom_digest is None or environment.provenance_digest is None:
        return []
    name, media_type = "environment/provenance.intoto.json", MEDIA_TYPE
    try:
        provenance = await environments.provenance(environment)
    except NoSigningKey:
        provenance, media_type = await environments.statement(environment), PAYLOAD_TYPE
    sbom = await environments.sbom(environment)
    return [
        File(
            "environment/sbom.cdx.json", sbom, "application/vnd.cyclonedx+json", "What is in the environment"
        ),
        File(name, provenance, media_type, "Where the environment comes from"),
    ]


def _receipt(receipt: Receipt) -> File:
    path = f"receipts/{receipt.subject_id}.json"
    return File(path, receipt.envelope.encode(), MEDIA_TYPE, f"Receipt of {receipt.subject_id}")


def _dumped(models: Sequence[BaseModel]) -> list[Any]:
    return [model.model_dump(mode="json", exclude={"visitor", "url", "events_url"}) for model in models]


def _json(path: str, name: str, value: Any) -> File:
    data = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n"
    return File(path, data, _JSON, name)
