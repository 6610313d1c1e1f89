"""The layers of one image on their way to a Docker daemon, in a few archives.

A daemon first writes an archive down and then unpacks its layers one after the other. So the next archive is
sent while the one before is unpacked, up to its end, which names layers that must be there by then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vitrine_builder.images.config import Image, config_bytes
from vitrine_builder.images.docker import PARTIAL_LABEL, REPOSITORY, Archive, Daemon
from vitrine_builder.progress import Step

if TYPE_CHECKING:
    from vitrine_builder.images.work import ImageWork

BATCH_BYTES = 64 << 20
"""Of layers that one archive holds, unless a single one has more."""
_AT_ONCE = 2
"""Archives: one is unpacked, one is sent."""


@dataclass
class _Sending:
    """An archive under way: the parts from `first` to before `end`."""

    first: int
    end: int
    sent: threading.Event = field(default_factory=threading.Event)
    loaded: Future[None] | None = None


class Delivery:
    """Brings the parts of one image to a daemon; those that it has already stay at home.

    Without `trust`, nothing but the base is believed to be there.
    """

    def __init__(self, work: ImageWork, daemon: Daemon, *, trust: bool = True) -> None:
        self._work = work
        self._daemon = daemon
        base = tuple(part.diff_id() for part in work.parts if part.is_base)
        has_base = base == daemon.layers_of(work.images.base.digest)[: len(base)]
        known = daemon.own_layers() if trust else []
        self._known = [*known, base] if has_base else known

    def run(self) -> Image:
        """Send what is missing; return the image, which the daemon has.

        Raises:
            MissingLayer: a layer that was left out is not there.
            BuildFailure: the daemon is away, full, or has something else than it was sent.
            Abandoned: nobody waits for the image any more.
        """
        work = self._work
        archives = self._cut(self._present())
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            before: _Sending | None = None
            for sending in archives:
                sending.loaded = pool.submit(self._send, sending, before)
                before = sending
        for sending in archives:
            assert sending.loaded is not None
            sending.loaded.result()
        image = work.image()
        self._daemon.verify(image.digest, [layer.diff_id for layer in image.layers], image.digest)
        for partial in self._daemon.unfinished(work.environment):
            self._daemon.forget(partial)
        return image

    def _present(self) -> int:
        """Return how many parts, from the bottom, the daemon has."""
        known = self._known
        for number, part in enumerate(self._work.parts):
            if part.is_new:
                return number
            longer = [layers for layers in known if len(layers) > number]
            # Only now: to know a diff id may mean to read the tar.
            known = [layers for layers in longer if layers[number] == part.diff_id()]
            if not known:
                return number
        return len(self._work.parts)

    def _cut(self, first: int) -> Sequence[_Sending]:
        """Divide the parts from `first` on into archives; the last may hold no more than the image's name."""
        found, waiting = [], 0
        for number, part in enumerate(self._work.parts[first:], first):
            waiting += part.size
            if waiting >= BATCH_BYTES and number + 1 < len(self._work.parts):
                found.append(_Sending(first, number + 1))
                first, waiting = number + 1, 0
        return [*found, _Sending(first, len(self._work.parts))]

    def _send(self, sending: _Sending, before: _Sending | None) -> None:
        try:
            if before is not None:
                before.sent.wait()
            work = self._work
            final = sending.end == len(work.parts)
            count = sending.end - sending.first
            work.report(Step("load", f"{count} layers", sending.first, None, None))
            name = f"{REPOSITORY}:{work.tag}" if final else None
            archive = Archive(work.parts[: sending.end], sending.first, name)
            self._daemon.load(self._checked(archive, sending, before))
        finally:
            sending.sent.set()

    def _checked(self, archive: Archive, sending: _Sending, before: _Sending | None) -> Iterator[bytes]:
        for chunk in archive.chunks(lambda: self._config(sending, before)):
            self._work.check()
            yield chunk

    def _config(self, sending: _Sending, before: _Sending | None) -> bytes:
        """Return the configuration that ends an archive, when what lies below it is there."""
        sending.sent.set()
        if before is not None and before.loaded is not None:
            before.loaded.result()
        work = self._work
        labels = work.labels
        if sending.end < len(work.parts):
            labels = {PARTIAL_LABEL: work.environment.removeprefix("sha256:")}
        layers = [replace(part.finished(), reused=False) for part in work.parts[: sending.end]]
        return config_bytes(work.images.base, layers, labels)
