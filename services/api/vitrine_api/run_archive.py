"""All of a run in one zip file, written while it is sent: what was asked, what came of it."""

from __future__ import annotations

import json
import posixpath
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, cast

from vitrine_api.blindness import Sight
from vitrine_api.crates.archive import Sink
from vitrine_api.run_code import LONG, value_name
from vitrine_api.run_inputs import file_values, safe_filename
from vitrine_api.runs import RunRecord
from vitrine_common.blobs import BlobStore
from vitrine_common.documents import Version

_READABLE = 0o644 << 16


@dataclass(frozen=True)
class Entry:
    """One file of the archive: its bytes, or the digest of stored ones."""

    path: str
    data: bytes = b""
    digest: str = ""


def entries_of(record: RunRecord, version: Version | None, sight: Sight) -> list[Entry]:
    """Return what the archive holds, under names that no file can leave its folder by."""
    names: set[str] = set()
    found = [*_inputs(record, version, sight, names), *_outputs(record, sight, names)]
    return [Entry("run.json", _json(_about(record, found))), *found]


def _inputs(record: RunRecord, version: Version | None, sight: Sight, names: set[str]) -> list[Entry]:
    values: Mapping[str, Any] = json.loads(record.request.inputs)
    files = file_values(version, record.request.inputs)
    found, plain = [], {}
    for name, value in values.items():
        if name in files:
            path = _free("inputs", safe_filename(sight.text(files[name].filename), name), names)
            found.append(Entry(path, digest=files[name].digest))
            plain[name] = {"file": path}
            continue
        plain[name] = value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if len(text) > LONG:
            found.append(Entry(_free("inputs", value_name(name, value), names), text.encode()))
    return [Entry("inputs.json", _json(plain)), *found]


def _outputs(record: RunRecord, sight: Sight, names: set[str]) -> list[Entry]:
    found = []
    for output in record.run.outputs if record.run else []:
        if output.digest:
            given = sight.output_name(output.name, output.filename) or output.name
            found.append(
                Entry(_free("outputs", safe_filename(given, output.name), names), digest=output.digest)
            )
        if output.value is not None:
            value = json.loads(output.value)
            ending, data = ("txt", value.encode()) if isinstance(value, str) else ("json", _json(value))
            found.append(Entry(_free("outputs", f"{output.name}.{ending}", names), data))
    return found


def _about(record: RunRecord, entries: list[Entry]) -> dict[str, Any]:
    return {
        "id": record.request.id,
        "state": record.state.value,
        "asked_at": record.request.created_at.isoformat(),
        "timings_ms": record.run.timings.model_dump(exclude_none=True) if record.run else {},
        "files": [entry.path for entry in entries],
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode(errors="replace")


def _free(folder: str, name: str, names: set[str]) -> str:
    """Return a path that is not taken; case does not tell names apart everywhere."""
    stem, ending = posixpath.splitext(name)
    path, number = f"{folder}/{name}", 1
    while path.lower() in names:
        number += 1
        path = f"{folder}/{stem}-{number}{ending}"
    names.add(path.lower())
    return path


async def archive(entries: list[Entry], at: datetime, blobs: BlobStore) -> AsyncIterator[bytes]:
    """Yield the zip file in pieces, in constant memory.

    Raises BlobNotFound when a file is gone: the answer then breaks off and is no zip file.
    """
    sink = Sink()
    with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_DEFLATED) as writer:
        for entry in entries:
            info = zipfile.ZipInfo(entry.path, (at.year, at.month, at.day, at.hour, at.minute, at.second))
            info.compress_type = zipfile.ZIP_STORED if entry.digest else zipfile.ZIP_DEFLATED
            info.external_attr = _READABLE
            if not entry.digest:
                writer.writestr(info, entry.data)
                yield sink.taken()
                continue
            async with await blobs.open_stream(entry.digest) as stream:
                with writer.open(info, "w", force_zip64=True) as target:
                    async for chunk in stream:
                        target.write(chunk)
                        yield sink.taken()
    yield sink.taken()
