"""From what a run leaves to its outputs: values inline, files by digest, typed as the version declares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vitrine_common.blobs import BlobStore
from vitrine_common.digests import canonical_json
from vitrine_common.documents import Output
from vitrine_common.spec import OutputType, parse_output
from vitrine_common.states import Reason
from vitrine_engine import OutputFile, OutputValue
from vitrine_runner.bundles import Bundle
from vitrine_runner.errors import RunFault
from vitrine_runner.media import HEAD_BYTES, sniff

INLINE_BYTES = 256 << 10
"""Largest canonical JSON of a value that is kept in the run's document; a larger one becomes a file."""
VALUE_BYTES = 16 << 20
"""Largest file or printed text that is read as a value."""
MAX_OUTPUTS = 1000
_AS_FILES = frozenset({"image", "file"})


@dataclass(frozen=True)
class _File:
    name: str
    type: OutputType
    path: Path
    size: int
    filename: str
    is_result: bool
    """Whether author code returned it: then its content says whether it is a picture."""


class OutputCollector:
    """Takes the outputs of one run as they come; `store` makes documents of them.

    Args:
        bundle: declares the outputs.
        folder: the run's own; made only if a file needs it.
    """

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self._declared: list[dict[str, Any]] = bundle.form["outputs"]
        self._types: dict[str, OutputType] = {item["name"]: item["type"] for item in self._declared}
        self._from_stdout = [item["name"] for item in self._declared if item["source"] == "stdout"]
        self._has_code = bundle.spec.kind().has_code
        self._folder = folder
        self._stdout = bytearray()
        self._values: list[tuple[str, str, Any]] = []
        self._pieces: dict[str, list[Any]] = {}
        self._files: list[_File] = []

    def printed(self, data: bytes) -> None:
        """Take standard output, where an output is read from it."""
        if self._from_stdout and len(self._stdout) <= VALUE_BYTES:
            self._stdout += data

    def value(self, event: OutputValue) -> None:
        """Take a value of a loaded model, or a piece of one."""
        if event.partial:
            self._pieces.setdefault(event.name, []).append(event.value)
            return
        self._check_count()
        self._values.append((event.name, self._types.get(event.name, event.type), event.value))

    def file(self, event: OutputFile) -> None:
        """Take a file before the engine deletes it; raises RunFault when there are too many."""
        for name in event.outputs or ("",):
            self._check_count()
            kind: OutputType = self._types.get(name, "file")
            if not self._files:
                self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"out-{len(self._files)}"
            # Hard links: one file may belong to several outputs.
            path.hardlink_to(event.file)
            filename = PurePosixPath(event.name).name
            self._files.append(_File(name or filename, kind, path, event.size, filename, self._has_code))

    def _check_count(self) -> None:
        if len(self._files) + len(self._values) >= MAX_OUTPUTS:
            message = f"The run gave more than {MAX_OUTPUTS} outputs; write fewer files, or pack them."
            raise RunFault(Reason.OUTPUT_TOO_LARGE, message)

    @property
    def needs_storing(self) -> bool:
        """Whether storing takes long enough to be shown as a state."""
        return any(file.type in _AS_FILES for file in self._files)

    async def store(self, blobs: BlobStore, *, log_truncated: bool) -> list[Output]:
        """Return the outputs in the declared order, their bytes stored.

        Raises RunFault: an output is not of its type, or what was printed is too much to be an output.
        """
        read = await asyncio.to_thread(self._read_values, log_truncated)
        values = [*self._values, *self._joined(), *read]
        inline = [await _of_value(blobs, name, kind, value) for name, kind, value in values]
        kept = [file for file in self._files if file.type in _AS_FILES]
        stored = await asyncio.gather(*(_of_file(blobs, file) for file in kept))
        order = {item["name"]: index for index, item in enumerate(self._declared)}
        return sorted([*inline, *stored], key=lambda output: order.get(output.name, len(order)))

    def _joined(self) -> Iterable[tuple[str, str, Any]]:
        """Yield the outputs that came in pieces: text is joined, the rest are lists."""
        for name, pieces in self._pieces.items():
            kind = self._types.get(name, "json")
            if kind == "text":
                yield name, kind, "".join(str(piece) for piece in pieces)
            else:
                yield name, kind if kind == "json" else "json", pieces

    def _read_values(self, log_truncated: bool) -> Iterable[tuple[str, str, Any]]:
        found = []
        for name in self._from_stdout:
            if log_truncated or len(self._stdout) > VALUE_BYTES:
                message = (
                    f"Output `{name}` is what the program prints, and it printed too much; write a file."
                )
                raise RunFault(Reason.OUTPUT_TOO_LARGE, message)
            if not self._stdout.strip() and not self._is_required(name):
                continue
            text = bytes(self._stdout).decode(errors="replace")
            found.append((name, self._types[name], _parsed(name, self._types[name], text, "standard output")))
        for file in self._files:
            if file.type not in _AS_FILES:
                text = _text_of(file)
                found.append((file.name, file.type, _parsed(file.name, file.type, text, file.filename)))
        return found

    def _is_required(self, name: str) -> bool:
        return any(item["name"] == name and item["required"] for item in self._declared)


def _text_of(file: _File) -> str:
    if file.size > VALUE_BYTES:
        message = (
            f"Output `{file.name}`: {file.filename} has {file.size} bytes; at most {VALUE_BYTES} are read."
        )
        raise RunFault(Reason.OUTPUT_TOO_LARGE, message)
    return file.path.read_bytes().decode(errors="replace")


def _parsed(name: str, kind: OutputType, text: str, source: str) -> Any:
    try:
        return parse_output(kind, text)
    except ValueError as error:
        raise RunFault(Reason.USER_ERROR, f"Output `{name}` ({source}) {error}.") from error


async def _of_value(blobs: BlobStore, name: str, kind: str, value: Any) -> Output:
    try:
        data = canonical_json(value)
    except (ValueError, UnicodeEncodeError) as error:
        message = f"Output `{name}` is no JSON value: numbers must be finite, text must be Unicode."
        raise RunFault(Reason.USER_ERROR, message) from error
    if len(data) <= INLINE_BYTES:
        return Output(name=name, type=kind, value=data.decode())
    text = value.encode() if isinstance(value, str) else data
    media_type, suffix = ("text/plain", "txt") if isinstance(value, str) else ("application/json", "json")
    digest = await blobs.put_bytes(text, media_type)
    filename = f"{name}.{suffix}"
    return Output(
        name=name, type=kind, digest=digest, size=len(text), media_type=media_type, filename=filename
    )


async def _of_file(blobs: BlobStore, file: _File) -> Output:
    with file.path.open("rb") as opened:
        media_type = sniff(opened.read(HEAD_BYTES), file.filename)
    is_image = media_type.startswith("image/") and (file.type == "image" or file.is_result)
    return Output(
        name=file.name,
        # What is no picture is offered as a file, never shown as one.
        type="image" if is_image else "file",
        digest=await blobs.put_file(file.path),
        size=file.size,
        media_type=media_type,
        filename=file.filename,
    )
