"""How an image's layers go to a daemon: in archives that overlap, and whose ends wait for what lies below."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images import delivery
from vitrine_builder.images.config import BaseImage, ImageLayer
from vitrine_builder.images.docker import Daemon, MissingLayer
from vitrine_builder.images.parts import FixedPart
from vitrine_builder.images.work import Abandoned, Images, ImageWork
from vitrine_builder.lock import Target
from vitrine_builder.workspace import open_workspace

PATIENCE_SECONDS = 30


def part(letter: str, kind: str = "wheels") -> FixedPart:
    content = letter.encode() * 600
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    layer = ImageLayer(digest, len(content), cast("Any", kind), chunks=lambda: iter((content,)))
    return FixedPart(layer)


PARTS = [part("b", "base"), *(part(letter) for letter in "wxyz")]


@dataclass
class FakeDaemon:
    """Unpacks archives as a real one does: in the order of their ends, and only onto what is there."""

    has: list[tuple[str, ...]] = field(default_factory=list)
    archives: list[list[str]] = field(default_factory=list)
    refuses: Exception | None = None
    sent_early: threading.Event = field(default_factory=threading.Event)
    wait_for: threading.Event | None = None
    loads: int = 0
    images: dict[str, list[str]] = field(default_factory=dict)

    def layers_of(self, _image: str) -> tuple[str, ...]:
        return (PARTS[0].diff_id(),)

    def own_layers(self) -> list[tuple[str, ...]]:
        return self.has

    def load(self, archive: Iterator[bytes]) -> None:
        self.loads += 1
        number = self.loads
        content = b""
        for chunk in archive:
            content += chunk
            if number > 1 and content:
                self.sent_early.set()
        if number == 1 and self.wait_for is not None:
            assert self.wait_for.wait(PATIENCE_SECONDS), "the next archive was not begun meanwhile"
        if self.refuses is not None:
            raise self.refuses
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            manifest = json.load(cast("Any", tar.extractfile("manifest.json")))[0]
            config = cast("Any", tar.extractfile(manifest["Config"])).read()
            members = [name for name in tar.getnames() if name.endswith("layer.tar")]
        layers = json.loads(config)["rootfs"]["diff_ids"]
        there = {PARTS[0].diff_id(), *(layer for known in self.has for layer in known)}
        for name, layer in zip(manifest["Layers"], layers, strict=True):
            if name not in members and layer not in there:
                raise MissingLayer(name)
        self.archives.append(members)
        self.has.append(tuple(layers))
        self.images[f"sha256:{hashlib.sha256(config).hexdigest()}"] = manifest["RepoTags"]

    def verify(self, digest: str, diff_ids: list[str], name: str) -> None:
        assert name == digest
        assert self.images[digest] == ["vitrine/env:e"]
        assert diff_ids == [each.diff_id() for each in PARTS]

    def unfinished(self, _environment: str) -> list[str]:
        return [digest for digest, names in self.images.items() if names is None]

    def forget(self, image: str) -> None:
        del self.images[image]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageWork]:
    monkeypatch.setattr(delivery, "BATCH_BYTES", 1000)
    base = BaseImage("sha256:base", (PARTS[0].layer,))
    with open_workspace(tmp_path) as workspace:
        images = Images(workspace, Target(), base)
        yield ImageWork(images, "sha256:e", "e", PARTS, {"lock": "l"}, lambda _step: None)


def send(work: ImageWork, daemon: FakeDaemon, *, trust: bool = True) -> None:
    delivery.Delivery(work, cast("Daemon", daemon), trust=trust).run()


def test_the_next_archive_is_sent_while_the_one_before_is_unpacked(work: ImageWork) -> None:
    daemon = FakeDaemon()
    daemon.wait_for = daemon.sent_early
    send(work, daemon)
    assert daemon.archives == [["1/layer.tar", "2/layer.tar"], ["3/layer.tar", "4/layer.tar"]]
    assert list(daemon.images.values()) == [["vitrine/env:e"]], "what was begun is forgotten"


def test_what_the_daemon_has_stays_at_home(work: ImageWork) -> None:
    known = tuple(each.diff_id() for each in PARTS)
    daemon = FakeDaemon([known[:3], ("sha256:other",)])
    send(work, daemon)
    assert daemon.archives == [["3/layer.tar", "4/layer.tar"]]
    again = FakeDaemon([known])
    send(work, again)
    assert again.archives == [[]]
    doubted = FakeDaemon([known])
    send(work, doubted, trust=False)
    assert [name for archive in doubted.archives for name in archive] == [
        f"{number}/layer.tar" for number in range(1, 5)
    ]


def test_a_refusal_ends_what_is_under_way_with_its_reason(work: ImageWork) -> None:
    full = BuildFailure(FailureReason.DISK_FULL, "full")
    daemon = FakeDaemon(refuses=full)
    with pytest.raises(BuildFailure) as caught:
        send(work, daemon)
    assert caught.value is full
    assert daemon.images == {}


def test_nothing_more_is_sent_when_nobody_waits(work: ImageWork) -> None:
    daemon = FakeDaemon()
    work.abandon()
    with pytest.raises(Abandoned):
        send(work, daemon)
    assert daemon.archives == []
