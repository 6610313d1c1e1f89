"""What is sent for a run becomes checked values; files are stored once everything else is right."""

from __future__ import annotations

import base64
import binascii
import io
import json
import mimetypes
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from vitrine_api.models import Models
from vitrine_api.pictures import HEAD, picture_type
from vitrine_api.repository import Bundles
from vitrine_api.specs import spec_of
from vitrine_api.uploads import Uploads
from vitrine_common.blobs import BlobStore
from vitrine_common.digests import DIGEST_PATTERN, canonical_json
from vitrine_common.documents import Version
from vitrine_common.errors import Invalid, Problem
from vitrine_common.spec import FileInput, FileValue, ImageInput, Input, Spec, coerce_inputs

CHUNK = 1 << 20
_UNSTORED = "sha256:" + "0" * 64
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\"\\/]+")


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file in a request's body, not stored yet."""

    file: BinaryIO
    size: int
    filename: str
    media_type: str


@dataclass(frozen=True, slots=True)
class SentExample:
    """One of the files that the model offers as an example, by its path in the bundle."""

    path: str


@dataclass
class _Gathered:
    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, SentFile] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def fault(self, name: str, message: str) -> None:
        self.problems.append(Problem(f"inputs.{name}", f"`{name}` {message}"))


class RunInputs:
    """Checks and stores the inputs of runs."""

    def __init__(self, bundles: Bundles, models: Models, uploads: Uploads, blobs: BlobStore) -> None:
        self._bundles = bundles
        self._models = models
        self._uploads = uploads
        self._blobs = blobs

    async def prepare(self, version: Version, raw: Mapping[str, Any], user_id: str | None) -> str:
        """Return the canonical JSON of the values for `version`; files are stored.

        Args:
            version: what is run.
            raw: values, `SentFile`s and `SentExample`s by input name.
            user_id: whose uploads may be named by digest; None for visitors, who have none.

        Raises Invalid naming every input that is wrong; nothing is stored then.
        """
        spec = spec_of(version)
        gathered = await self._gather(spec, version, raw, user_id)
        values, problems = coerce_inputs(spec, gathered.values)
        known = {problem.field for problem in gathered.problems}
        problems = [*gathered.problems, *(item for item in problems if item.field not in known)]
        if problems:
            raise Invalid("; ".join(problem.message for problem in problems)[:2000], tuple(problems))
        for name, sent in gathered.files.items():
            digest, size = await self._uploads.store(user_id, _chunks(sent.file))
            values[name] |= {"digest": digest, "size": size}
        return canonical_json(values).decode()

    async def _gather(
        self, spec: Spec, version: Version, raw: Mapping[str, Any], user_id: str | None
    ) -> _Gathered:
        inputs = {item.name: item for item in spec.effective_inputs()}
        gathered = _Gathered()
        for name, given in raw.items():
            item = inputs.get(name)
            if not isinstance(item, ImageInput | FileInput):
                is_file = isinstance(given, SentFile)
                gathered.values[name] = _text_of(given, gathered, name) if is_file else given
            else:
                await self._file(item, given, version, user_id, gathered)
        return gathered

    async def _file(
        self,
        item: ImageInput | FileInput,
        given: Any,
        version: Version,
        user_id: str | None,
        gathered: _Gathered,
    ) -> None:
        if isinstance(given, dict) and set(given) <= {"example"}:
            given = SentExample(str(given.get("example")))
        if isinstance(given, dict) and "base64" in given:
            given = _from_base64(given, gathered, item.name)
        match given:
            case SentFile():
                head = given.file.read(HEAD)
                given.file.seek(0)
                gathered.files[item.name] = given
                value = _file_value(item, given.filename, given.media_type, given.size, head)
            case SentExample():
                value = await self._example(item, given, version, gathered)
            case {"digest": str()}:
                value = await self._granted(item, given, user_id, gathered)
            case _:
                value = given
        gathered.values[item.name] = value
        if isinstance(item, ImageInput) and isinstance(value, dict) and value.get("media_type") == "":
            gathered.fault(item.name, f"is no picture; give one of {', '.join(item.accept)}")

    async def _example(
        self, item: ImageInput | FileInput, sent: SentExample, version: Version, gathered: _Gathered
    ) -> Any:
        entry = (
            (await self._models.manifest(version)).entry(sent.path) if sent.path in item.examples else None
        )
        if entry is None:
            gathered.fault(item.name, f"has no example `{sent.path[:80]}`")
            return None
        head = await self._blobs.read_head(entry.digest, HEAD)
        value = _file_value(item, entry.path.rpartition("/")[2], "", entry.size, head)
        return value | {"digest": entry.digest}

    async def _granted(
        self, item: ImageInput | FileInput, given: dict[str, Any], user_id: str | None, gathered: _Gathered
    ) -> Any:
        digest = given["digest"]
        granted = None
        if user_id is not None and re.fullmatch(DIGEST_PATTERN, digest):
            granted = (await self._bundles.grants(user_id, [digest])).get(digest)
        if granted is None:
            gathered.fault(item.name, "names bytes that you have not uploaded; send the file itself")
            return None
        head = await self._blobs.read_head(digest, HEAD)
        filename, media_type = str(given.get("filename") or ""), str(given.get("media_type") or "")
        return _file_value(item, filename, media_type, granted, head) | {"digest": digest}


def _file_value(item: Input, filename: str, media_type: str, size: int, head: bytes) -> dict[str, Any]:
    """Describe a file; a picture's type is what its bytes say, and empty for what is none."""
    filename = safe_filename(filename, item.name)
    media_type = media_type.split(";", maxsplit=1)[0].strip().lower()[:200]
    if isinstance(item, ImageInput) and size:
        media_type = picture_type(head) or ""
    elif not media_type or media_type == "application/octet-stream":
        media_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    return FileValue(digest=_UNSTORED, size=size, media_type=media_type, filename=filename).model_dump()


def file_values(version: Version | None, inputs: str) -> dict[str, FileValue]:
    """Return the files among a run's values, by input name.

    Only the declared type tells: a `json` value may look like a file's and name somebody else's digest.
    """
    if version is None:
        return {}
    values = json.loads(inputs)
    declared = spec_of(version).effective_inputs()
    names = [item.name for item in declared if item.is_file and item.name in values]
    return {name: FileValue.model_validate(values[name]) for name in names}


def safe_filename(name: str, fallback: str) -> str:
    """Return the last part of a file name without control characters, quotes and slashes."""
    last = _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(" .")
    encoded = last.encode(errors="replace")[:200].decode(errors="ignore")
    return encoded or fallback


def _from_base64(given: dict[str, Any], gathered: _Gathered, name: str) -> SentFile | None:
    try:
        data = base64.b64decode(str(given["base64"]), validate=True)
    except (binascii.Error, ValueError):
        gathered.fault(name, "has `base64` that cannot be decoded")
        return None
    filename, media_type = str(given.get("filename") or ""), str(given.get("media_type") or "")
    return SentFile(io.BytesIO(data), len(data), filename, media_type)


def _text_of(sent: SentFile, gathered: _Gathered, name: str) -> Any:
    """Read a file that was sent for a value: `-i text=@file` and drag-and-drop on a text box."""
    try:
        return sent.file.read().decode()
    except UnicodeDecodeError:
        gathered.fault(name, "is a file that is not UTF-8 text")
        return None


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
