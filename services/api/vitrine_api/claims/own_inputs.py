"""Files that whoever has a claim checked adds to its dataset."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from vitrine_api.run_inputs import CHUNK, SentFile, safe_filename
from vitrine_api.uploads import Uploads
from vitrine_common.documents import OwnInput
from vitrine_common.errors import Invalid, Problem
from vitrine_common.spec import Claim

MAX_LABEL = 200


@dataclass(frozen=True, slots=True)
class SentOwn:
    """A file in a request's body, and what its sender says that it is."""

    file: SentFile
    label: str = ""


def check_own(claim: Claim, sent: Sequence[SentOwn]) -> None:
    """Raise Invalid, naming each file that the claim does not take."""
    if not sent:
        return
    if claim.extend is None:
        message = f"the claim `{claim.name}` takes no files of your own; check it as it is"
        raise Invalid(message, (Problem("file", message),))
    problems = [problem for item in sent for problem in _problems(claim, item)]
    if len(sent) > claim.extend.max_files:
        message = f"these are {len(sent)} files; the claim takes at most {claim.extend.max_files}"
        problems.insert(0, Problem("file", message))
    if problems:
        raise Invalid("; ".join(problem.message for problem in problems)[:2000], tuple(problems))


def _problems(claim: Claim, item: SentOwn) -> list[Problem]:
    extend = claim.extend
    assert extend is not None
    name = safe_filename(item.file.filename, "file")
    found = []
    if not item.file.size:
        found.append(Problem("file", f"{name} is empty"))
    if item.file.size > extend.max_bytes:
        found.append(
            Problem("file", f"{name} has {item.file.size} bytes; at most {extend.max_bytes} are taken")
        )
    if extend.accept and _suffix(name) not in {suffix.lower() for suffix in extend.accept}:
        found.append(Problem("file", f"{name} is none of {', '.join(extend.accept)}"))
    if extend.label is not None and not item.label.strip():
        found.append(Problem("label", f"{name} has no label; say for it: {extend.label}"))
    if len(item.label) > MAX_LABEL or "\0" in item.label:
        found.append(Problem("label", f"the label of {name} is no text of at most {MAX_LABEL} characters"))
    return found


async def store_own(
    uploads: Uploads, user_id: str | None, claim: Claim, sent: Sequence[SentOwn]
) -> list[OwnInput]:
    """Keep the files of a wish that was checked; the platform chooses their names in the dataset.

    So no name can meet, or find out, one of the dataset's own.
    """
    kept = []
    for number, item in enumerate(sent, 1):
        name = safe_filename(item.file.filename, "file")
        digest, size = await uploads.store(user_id, _chunks(item.file.file))
        label = item.label.strip() if claim.extend and claim.extend.label is not None else None
        kept.append(
            OwnInput(
                name=f"own-{number}{_suffix(name)}", filename=name, digest=digest, size=size, label=label
            )
        )
    return kept


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix.isascii() and suffix[1:].isalnum() and len(suffix) <= 16 else ""


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
