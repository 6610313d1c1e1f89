"""The image of one environment, put together and brought where it should be."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from vitrine_builder.images.blobs import BlobDelivery
from vitrine_builder.images.config import BaseImage, Image, ImageLayer, config_bytes, tag_of
from vitrine_builder.images.content import DiffIds, meta_layer, outdated
from vitrine_builder.images.delivery import Delivery
from vitrine_builder.images.docker import REPOSITORY, Daemon, MissingLayer
from vitrine_builder.images.packages import system_layers
from vitrine_builder.images.parts import FixedPart, Part, WheelsPart
from vitrine_builder.images.plan import plan_layers
from vitrine_builder.images.pull import Puller
from vitrine_builder.images.record import ImageRecord, ImageRecords
from vitrine_builder.images.registry_push import Attachment, Pusher
from vitrine_builder.layers import Layer
from vitrine_builder.lock import Lock, Target
from vitrine_builder.progress import Report
from vitrine_builder.workspace import Workspace

Attach = Callable[[Lock, Image], Sequence[Attachment]]
"""Gives the documents that go with an image."""


@dataclass(frozen=True)
class Images:
    """Assembles images, and loads them into a Docker daemon where there is one.

    They hold no bytecode: their bytes depend on lock, base and format, and on nothing of the host.

    Attributes:
        pusher: sends images to a registry or a layout.
        puller: has a Docker daemon fetch what was sent.
        attach: gives the documents that go with an image that is sent.
    """

    workspace: Workspace
    target: Target
    base: BaseImage
    daemon: Daemon | None = None
    pusher: Pusher | None = None
    puller: Puller | None = None
    attach: Attach | None = None

    @property
    def records(self) -> ImageRecords:
        """What is known of images that were made."""
        return ImageRecords(self.workspace)

    def find(self, environment: str) -> ImageRecord | None:
        """Return the record of the image of `environment`, where it is made and, if wanted, loaded."""
        record = self.records.find(environment)
        if record is None or record.base != self.base.digest:
            return None
        if self.daemon is not None and self.daemon.inspect(name_of(environment)) is None:
            return None
        if self.pusher is not None and not self.pusher.has(environment, record.digest):
            return None
        if self.puller is not None and not self.puller.has(environment):
            return None
        return record

    def labels(self, environment: str, lock: Lock) -> dict[str, str]:
        """Return what an image says of itself: digests."""
        return {"base": self.base.content, "environment": environment, "lock": lock.digest}

    def below(self, lock: Lock) -> list[Part]:
        """Return the layers below the wheels: the base, system packages, and what every environment has.

        Raises:
            BuildFailure: system packages were installed on another base than images stand on.
        """
        system = system_layers(self.workspace, self.base, lock.system)
        layers = [*self.base.layers, *system, meta_layer(self.target, self.base.prefix)]
        return [FixedPart(layer) for layer in layers]

    def groups(self, groups: Sequence[Sequence[Layer]]) -> list[Part]:
        """Return a layer of wheels for each of `groups`."""
        diff_ids = DiffIds(self.workspace, self.target)
        return [
            WheelsPart(tuple(layers), hidden, diff_ids)
            for layers, hidden in zip(groups, outdated(groups), strict=True)
        ]

    @contextlib.asynccontextmanager
    async def begin(
        self, environment: str, lock: Lock, layers: Sequence[Layer], report: Report
    ) -> AsyncIterator[asyncio.Future[ImageRecord]]:
        """Give the record of the image to be, which is made meanwhile, and no longer than the block lasts.

        Shield the future: cancelling it would not end the thread behind it.

        Raises:
            BuildFailure: from the future: the daemon or registry is away, full, or has something else than it
                was sent.
        """
        parts = [*self.below(lock), *self.groups(plan_layers(layers))]
        work = ImageWork(
            self, environment, tag_of(environment), parts, self.labels(environment, lock), report
        )
        attached = self.attach

        def run() -> ImageRecord:
            image = work.run(lambda image: attached(lock, image) if attached is not None else ())
            record = ImageRecord.of(image, self.base)
            self.records.keep(environment, record, image.config)
            return record

        making = asyncio.ensure_future(asyncio.to_thread(run))
        try:
            yield making
        finally:
            work.abandon()
            await asyncio.gather(making, return_exceptions=True)


def name_of(environment: str) -> str:
    """Return what a Docker daemon calls the image of `environment`."""
    return f"{REPOSITORY}:{tag_of(environment)}"


class Abandoned(Exception):
    """The build ended before its image."""


@dataclass
class ImageWork:
    """One image under way: its parts from the bottom up, read and hashed and sent in this order."""

    images: Images
    environment: str
    tag: str
    parts: Sequence[Part]
    labels: dict[str, str]
    report: Report
    _abandoned: threading.Event = field(default_factory=threading.Event)

    def abandon(self) -> None:
        """Stop soon, if it is not finished."""
        self._abandoned.set()

    def check(self) -> None:
        """Raise `Abandoned` when nobody waits for the image any more."""
        if self._abandoned.is_set():
            raise Abandoned

    def run(self, attach: Callable[[Image], Sequence[Attachment]]) -> Image:
        """Make the image and bring it where it should be, with the documents that `attach` gives.

        Raises:
            BuildFailure: the daemon or registry is away, full, or has something else than it was sent.
            Abandoned: somebody called `abandon`.
        """
        daemon = self.images.daemon
        if daemon is not None:
            deliver = BlobDelivery if daemon.keeps_blobs else Delivery
            try:
                return deliver(self, daemon).run()
            except MissingLayer:
                return deliver(self, daemon, trust=False).run()
        image = self.image()
        if self.images.pusher is not None:
            self.images.pusher.push(image, attach(image), self.report)
        if self.images.puller is not None:
            self.images.puller.pull(image, self.report)
        return image

    def image(self) -> Image:
        """Return the image, whose parts are hashed where nobody has, and remember their diff ids."""
        layers: list[ImageLayer] = []
        for part in self.parts:
            self.check()
            layers.append(part.finished())
            part.remember()
        config = config_bytes(self.images.base, layers, self.labels)
        return Image(self.environment, self.tag, config, tuple(layers))
