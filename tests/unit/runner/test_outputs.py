"""What a run leaves becomes outputs; bytes are what they are, not what they are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from runner_doubles import BlobsDouble
from vitrine_common.blobs import BlobStore
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output
from vitrine_common.states import Reason
from vitrine_engine import OutputFile, OutputValue
from vitrine_runner.bundles import Bundles
from vitrine_runner.errors import RunFault
from vitrine_runner.media import sniff
from vitrine_runner.outputs import INLINE_BYTES, OutputCollector

from .conftest import Push


class Left:
    """Makes collectors, and files as an engine gives them."""

    def __init__(self, push: Push, bundles: Bundles, blobs: BlobsDouble, folder: Path) -> None:
        self.push, self.bundles, self.blobs, self.folder = push, bundles, blobs, folder

    async def collector(self, outputs: dict[str, Any]) -> OutputCollector:
        async with self.bundles.held(await self.push({"outputs": outputs})) as bundle:
            return OutputCollector(bundle, self.folder / "run")

    def file(self, name: str, data: bytes, *outputs: str) -> OutputFile:
        path = self.folder / "spooled"
        path.write_bytes(data)
        return OutputFile(
            name=name,
            media_type="text/html",
            size=len(data),
            digest=sha256_bytes(data),
            file=path,
            outputs=outputs,
        )

    async def stored(self, collector: OutputCollector, *, truncated: bool = False) -> list[Output]:
        return await collector.store(cast("BlobStore", self.blobs), log_truncated=truncated)


@pytest.fixture
def left(push: Push, make_bundles: Callable[..., Bundles], blobs: BlobsDouble, tmp_path: Path) -> Left:
    return Left(push, make_bundles(), blobs, tmp_path)


async def test_a_file_survives_its_deletion_by_the_engine(left: Left) -> None:
    collector = await left.collector({"weights": {"type": "file", "path": "out/"}})
    for number in range(2):
        event = left.file(f"out/{number}.bin", bytes([number, 255]), "weights")
        collector.file(event)
        event.file.unlink()
    assert collector.needs_storing
    outputs = await left.stored(collector)
    assert [(item.name, item.filename, item.size) for item in outputs] == [
        ("weights", "0.bin", 2),
        ("weights", "1.bin", 2),
    ]
    assert outputs[1].digest is not None
    assert left.blobs.blobs[outputs[1].digest] == b"\x01\xff"


async def test_a_file_of_two_outputs_is_given_as_each(left: Left) -> None:
    outputs = {"text": {"type": "text", "path": "a.txt"}, "raw": {"type": "file", "path": "*.txt"}}
    collector = await left.collector(outputs)
    collector.file(left.file("a.txt", "é".encode(), "raw", "text"))
    text, raw = await left.stored(collector)
    assert (text.type, text.value) == ("text", '"é"')
    assert (raw.type, raw.media_type, raw.size) == ("file", "text/plain", 2)


async def test_what_is_no_picture_is_never_shown_as_one(left: Left) -> None:
    collector = await left.collector({"picture": {"type": "image", "path": "*.png"}})
    collector.file(left.file("a.png", b"<svg onload='alert(1)'/>", "picture"))
    (output,) = await left.stored(collector)
    assert (output.type, output.media_type) == ("file", "text/plain")


async def test_a_large_value_becomes_a_file(left: Left) -> None:
    collector = await left.collector({"data": "json"})
    collector.printed(json.dumps(["x" * INLINE_BYTES]).encode())
    (output,) = await left.stored(collector)
    assert (output.value, output.media_type, output.filename) == (None, "application/json", "data.json")
    assert output.digest in left.blobs.blobs


async def test_printed_values_need_all_that_was_printed(left: Left) -> None:
    collector = await left.collector({"answer": "text"})
    collector.printed(b"the beginning of")
    with pytest.raises(RunFault, match="`answer`") as caught:
        await left.stored(collector, truncated=True)
    assert caught.value.reason is Reason.OUTPUT_TOO_LARGE


@pytest.mark.parametrize(
    ("kind", "printed"), [("number", b"many\n"), ("json", b"{"), ("labels", b'{"cat": "yes"}')]
)
async def test_a_value_of_another_type_is_the_authors_error(left: Left, kind: str, printed: bytes) -> None:
    collector = await left.collector({"answer": kind})
    collector.printed(printed)
    with pytest.raises(RunFault, match="`answer`") as caught:
        await left.stored(collector)
    assert caught.value.reason is Reason.USER_ERROR


async def test_values_that_json_cannot_hold_are_the_authors_error(left: Left) -> None:
    collector = await left.collector({"answer": "json"})
    collector.value(OutputValue(name="answer", type="json", value=float("nan")))
    collector.printed(b"1")
    with pytest.raises(RunFault, match="finite"):
        await left.stored(collector)


async def test_outputs_are_counted(left: Left) -> None:
    collector = await left.collector({"answer": {"type": "file", "path": "*"}})
    event = OutputValue(name="answer", type="json", value=1)
    for _ in range(1000):
        collector.value(event)
    with pytest.raises(RunFault, match="1000 outputs") as caught:
        collector.value(event)
    assert caught.value.reason is Reason.OUTPUT_TOO_LARGE


@pytest.mark.parametrize(
    ("head", "name", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n....", "a.txt", "image/png"),
        (b"\xff\xd8\xff\xe0", "a.png", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "a", "audio/wav"),
        (b"%PDF-1.7", "a", "application/pdf"),
        (b"<!doctype html><script>", "a.png", "text/plain"),
        (b"<svg/>", "a.svg", "text/plain"),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"\x00\x01", "a.csv", "application/octet-stream"),
        (("x" + "é" * 2048).encode()[:4096], "a", "text/plain"),  # cut in the middle of a character
        (b"caf\xe9", "a", "application/octet-stream"),
        (b"", "a", "text/plain"),
    ],
)
def test_bytes_tell_what_they_are(head: bytes, name: str, media_type: str) -> None:
    assert sniff(head, name) == media_type
