"""Files that arrive from a sandbox, spooled on the host under names that the engine chooses."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from pathlib import Path
from typing import Any

from vitrine_engine import checks
from vitrine_engine.channel import Channel
from vitrine_engine.checks import ViolationError
from vitrine_engine.events import CheckpointFile, OutputFile


class Incoming:
    """Receives the files of one run into a directory of its own."""

    def __init__(self, directory: Path, output_names: tuple[str, ...], output_bytes: int) -> None:
        self._directory = directory
        self._output_names = output_names
        self._most = output_bytes
        self._left = output_bytes
        self._count = 0

    async def receive(self, header: dict[str, Any], channel: Channel) -> OutputFile | None:
        """Receive the file that `header` announces; None where it changed while the sandbox read it."""
        is_checkpoint = checks.text(header.get("kind"), most=20) == "checkpoint"
        size = checks.whole(header.get("size"), most=self._most if is_checkpoint else self._left)
        name = checks.relative_path(header.get("name"))
        outputs = checks.texts(header.get("outputs"), among=("", *self._output_names))
        if not is_checkpoint:
            self._left -= size
        self._count += 1
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / str(self._count)
        digest, is_whole = await self._spool(path, size, channel)
        if not is_whole:
            path.unlink()
            return None
        kind = CheckpointFile if is_checkpoint else OutputFile
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return kind(
            name=name,
            media_type=media_type,
            size=size,
            digest=f"sha256:{digest}",
            file=path,
            outputs=tuple(output for output in outputs if output),
        )

    async def receive_bytes(self, size: int, channel: Channel) -> bytes:
        """Receive `size` bytes into memory, counted as output."""
        self.count(size)
        data = bytearray()
        while len(data) < size:
            data += await _data(channel, size - len(data))
        return bytes(data)

    def count(self, size: int) -> None:
        """Count bytes of output; raises `ViolationError` beyond the limit."""
        if size > self._left:
            raise ViolationError("the outputs are larger than allowed")
        self._left -= size

    async def _spool(self, path: Path, size: int, channel: Channel) -> tuple[str, bool]:
        digest, left = hashlib.sha256(), size
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - a local spool, by descriptor
            while True:
                frame = await channel.receive()
                if frame is None:
                    raise EOFError
                header, data = frame
                if header.get("is") == "file_end":
                    return digest.hexdigest(), header.get("whole") is True and left == 0
                if header.get("is") != "data" or len(data) > left:
                    raise ViolationError("a file has more bytes than announced")
                left -= len(data)
                digest.update(data)
                file.write(data)


async def _data(channel: Channel, most: int) -> bytes:
    frame = await channel.receive()
    if frame is None:
        raise EOFError
    header, data = frame
    if header.get("is") != "data" or not 0 < len(data) <= most:
        raise ViolationError("a tensor has more bytes than announced")
    return data
