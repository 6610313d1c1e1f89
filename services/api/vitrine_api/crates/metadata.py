"""`ro-crate-metadata.json`: what an archive holds, as JSON-LD (RO-Crate 1.1, w3id.org/ro/crate/1.1)."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

from vitrine_api.crates.contents import Contents, File, Stored
from vitrine_common.documents import Receipt

NAME = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_DESCRIPTION = "A model that was shared in Vitrine, and what was found out about it."
_PLATFORM = "#vitrine"
_LICENSE = "#license"
_AUTHOR = "#author"
_STATUS = {"succeeded": "CompletedActionStatus", "reproduced": "CompletedActionStatus"}


def metadata(contents: Contents) -> bytes:
    """Return the metadata file of an archive."""
    entities = [
        _descriptor(),
        _root(contents),
        *(_file(file) for file in contents.files),
        *(_action(receipt) for receipt in contents.receipts),
        _platform(contents),
        _license(),
    ]
    if contents.author:
        entities.append({"@id": _AUTHOR, "@type": "Person", "name": contents.author})
    document = {"@context": CONTEXT, "@graph": entities}
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _descriptor() -> dict[str, Any]:
    return {
        "@id": NAME,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _PROFILE},
        "about": {"@id": "./"},
    }


def _root(contents: Contents) -> dict[str, Any]:
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": contents.title,
        "description": contents.description
        or "A model that was shared in Vitrine, and what was found out about it.",
        "datePublished": contents.created_at.isoformat(),
        "identifier": contents.identifier,
        "license": {"@id": _LICENSE},
        "publisher": {"@id": _PLATFORM},
        "hasPart": [{"@id": _id(file.path)} for file in contents.files],
        "mentions": [{"@id": _action_id(receipt)} for receipt in contents.receipts],
    }
    if contents.version:
        root["version"] = contents.version
    if contents.author:
        root["author"] = {"@id": _AUTHOR}
    return root


def _file(file: File | Stored) -> dict[str, Any]:
    return {
        "@id": _id(file.path),
        "@type": "File",
        "name": file.name or file.path,
        "encodingFormat": file.media_type,
        "contentSize": str(file.size),
        "identifier": file.digest,
    }


def _action(receipt: Receipt) -> dict[str, Any]:
    """Describe what a receipt is about as an action (RO-Crate, "Provenance of entities")."""
    told = _predicate(receipt)
    status = _STATUS.get(str(told.get("verdict")), "FailedActionStatus")
    timing = told.get("timing") or {}
    action = {
        "@id": _action_id(receipt),
        "@type": "CreateAction" if receipt.kind == "run" else "AssessAction",
        "name": f"{'Run' if receipt.kind == 'run' else 'Check of a claim'}: {told.get('verdict')}",
        "startTime": timing.get("startedAt"),
        "endTime": timing.get("finishedAt"),
        "actionStatus": {"@id": f"http://schema.org/{status}"},
        "agent": {"@id": _PLATFORM},
        "subjectOf": {"@id": _id(f"receipts/{receipt.subject_id}.json")},
    }
    return {name: value for name, value in action.items() if value is not None}


def _predicate(receipt: Receipt) -> dict[str, Any]:
    statement = json.loads(base64.b64decode(json.loads(receipt.envelope)["payload"]))
    return dict(statement["predicate"])


def _platform(contents: Contents) -> dict[str, Any]:
    return {"@id": _PLATFORM, "@type": "Organization", "name": "Vitrine", "url": contents.url}


def _license() -> dict[str, Any]:
    return {
        "@id": _LICENSE,
        "@type": "CreativeWork",
        "name": "As the author states",
        "description": "The platform grants no rights. See the model card, or ask the author.",
    }


def _action_id(receipt: Receipt) -> str:
    return f"#{receipt.subject_id}"


def _id(path: str) -> str:
    """Return a path as JSON-LD names it: percent-encoded, relative to the archive."""
    return quote(path)
