"""The image of one environment, made and sent while its layers are still being made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vitrine_builder.images.config import BaseImage, Image, ImageLayer, config_bytes
from vitrine_builder.images.content import DiffIds, HashedTar, meta_layer
from vitrine_builder.images.docker import PARTIAL, REPOSITORY, Archive, Daemon, MissingLayer, Sendable
from vitrine_builder.images.packages import system_layers
from vitrine_builder.images.plan import plan_layers
from vitrine_builder.images.pull import Puller
from vitrine_builder.images.record import ImageRecord, ImageRecords
from vitrine_builder.images.registry_push import Attachment, Pusher
from vitrine_builder.layers import Layer
from vitrine_builder.lock import Lock, LockedPackage, Target
from vitrine_builder.progress import Report, Step
from vitrine_builder.workspace import Workspace

BATCH_BYTES = 192 << 20
"""Of layers that one archive holds, when more of them wait: the daemon unpacks while the next is written."""


Attach = Callable[[Lock, Image], Sequence[Attachment]]
"""Gives the documents that go with an image."""


class Planned(NamedTuple):
    """A package whose layer exists or is being made."""

    package: LockedPackage
    content: int

    @property
    def name(self) -> str:
        """The package's name."""
        return self.package.name


@dataclass(frozen=True)
class Images:
    """Assembles images, and loads them into a Docker daemon where there is one.

    Attributes:
        compiler: version of the interpreter whose bytecode is in the layers.
        pusher: sends images to a registry or a layout.
        puller: has a Docker daemon fetch what was sent.
        attach: gives the documents that go with an image that is sent.
    """

    workspace: Workspace
    target: Target
    compiler: str
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

    def deliver(self, image: Image, lock: Lock, report: Report) -> None:
        """Send an image and its documents where they should be.

        Raises:
            BuildFailure: the registry, or the daemon that pulls from it, is away or refuses.
        """
        if self.pusher is not None:
            attachments = self.attach(lock, image) if self.attach is not None else ()
            self.pusher.push(image, attachments, report)
        if self.puller is not None:
            self.puller.pull(image, report)

    def labels(self, environment: str, lock: Lock) -> dict[str, str]:
        """Return what an image says of itself: digests, and which Python compiled it."""
        return {
            "base": self.base.content,
            "environment": environment,
            "lock": lock.digest,
            "python": self.compiler,
        }

    def begin(self, environment: str, lock: Lock, report: Report) -> ImageWork:
        """Begin the image of `environment`; system packages lie between the base and the wheels.

        Raises:
            BuildFailure: system packages were installed on another base than images stand on.
        """
        system = system_layers(self.workspace, self.base, lock.system)
        fixed = [*self.base.layers, *system, meta_layer(self.target, self.base.prefix)]
        return ImageWork(self, environment, lock, fixed, report)


def name_of(environment: str) -> str:
    """Return what a Docker daemon calls the image of `environment`."""
    return f"{REPOSITORY}:{environment.removeprefix('sha256:')}"


class Abandoned(Exception):
    """The build ended before its image."""


@dataclass
class _Group:
    """A layer of wheels that is complete, and its tar."""

    layers: tuple[Layer, ...]
    tar: HashedTar
    reused: bool

    def finished(self) -> ImageLayer:
        packages = tuple(f"{layer.package.name}=={layer.package.version}" for layer in self.layers)
        tar = self.tar
        return ImageLayer(tar.known(), tar.size, "wheels", packages, self.reused, tar.tar.chunks)


@dataclass
class _Fixed:
    """A layer that is known from the start, as something to send."""

    layer: ImageLayer

    @property
    def diff_id(self) -> str | None:
        return self.layer.diff_id

    @property
    def size(self) -> int:
        return self.layer.size

    def chunks(self) -> Iterator[bytes]:
        return self.layer.chunks()

    def finished(self) -> ImageLayer:
        return self.layer


@dataclass
class ImageWork:
    """One image under way. A thread of its own reads, hashes and sends layers in their order as they come.

    `plan`, `add` and `finish` are called from the event loop, in this order.
    """

    images: Images
    environment: str
    lock: Lock
    fixed: Sequence[ImageLayer]
    report: Report
    _plan: tuple[tuple[Planned, ...], ...] | None = None
    _layers: dict[LockedPackage, Layer] = field(default_factory=dict)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _abandoned: bool = False
    _thread: asyncio.Future[Image] | None = None

    def plan(self, packages: Sequence[Planned]) -> None:
        """Decide about layers and begin to wait for them."""
        self._plan = plan_layers(packages)
        self._thread = asyncio.ensure_future(asyncio.to_thread(self._run))

    def add(self, layer: Layer) -> None:
        """Take a finished layer of a package."""
        with self._news:
            self._layers[layer.package] = layer
            self._news.notify_all()

    async def finish(self) -> ImageRecord:
        """Return the record of the image, which is complete, loaded where it should be, and verified.

        Raises:
            BuildFailure: the daemon is away, full, or has something else than it was sent.
        """
        image = await self.complete()
        record = ImageRecord.of(image, self.images.base)
        self.images.records.keep(self.environment, record, image.config)
        return record

    async def complete(self) -> Image:
        """Return the image itself, whose layers can be streamed; like `finish`, and remembers nothing."""
        assert self._thread is not None
        return await asyncio.shield(self._thread)

    async def abandon(self) -> None:
        """Stop, if it is not finished, and wait until nothing is read or sent any more."""
        with self._news:
            self._abandoned = True
            self._news.notify_all()
        if self._thread is not None:
            await asyncio.gather(self._thread, return_exceptions=True)

    def _run(self) -> Image:
        if self.images.daemon is None:
            members: list[_Group | _Fixed] = [_Fixed(layer) for layer in self.fixed]
            members += [self.group(number) for number in range(self.groups)]
            image = self.image(members)
            self.images.deliver(image, self.lock, self.report)
            return image
        try:
            return _Delivery(self, self.images.daemon).run()
        except MissingLayer:
            return _Delivery(self, self.images.daemon, trust=False).run()

    @property
    def groups(self) -> int:
        """Number of layers of wheels."""
        assert self._plan is not None
        return len(self._plan)

    def group(self, number: int) -> _Group:
        """Wait for the layers of group `number`; give its tar."""
        assert self._plan is not None
        packages = [planned.package for planned in self._plan[number]]
        with self._news:
            while not self._abandoned and not all(package in self._layers for package in packages):
                self._news.wait()
            if self._abandoned:
                raise Abandoned
            layers = tuple(self._layers[package] for package in packages)
        diff_ids = DiffIds(self.images.workspace, self.images.target)
        tar = diff_ids.group(layers)
        return _Group(layers, tar, tar.diff_id is not None)

    def is_ready(self, number: int) -> bool:
        """Whether every package of group `number` has its layer."""
        assert self._plan is not None
        return all(planned.package in self._layers for planned in self._plan[number])

    def image(self, members: Sequence[_Group | _Fixed]) -> Image:
        """Return the image of all layers, and remember their diff ids."""
        layers = tuple(member.finished() for member in members)
        diff_ids = DiffIds(self.images.workspace, self.images.target)
        for member in members:
            if isinstance(member, _Group) and not member.reused:
                diff_ids.remember(member.layers, member.tar)
        labels = self.images.labels(self.environment, self.lock)
        return Image(self.environment, config_bytes(self.images.base, layers, labels), layers)


class _Delivery:
    """Brings the layers of one image to a daemon, in a few archives."""

    def __init__(self, work: ImageWork, daemon: Daemon, *, trust: bool = True) -> None:
        self._work = work
        self._daemon = daemon
        self._members: list[_Group | _Fixed] = []
        self._waiting = 0
        self._sent = 0
        base = [layer.diff_id for layer in work.fixed if layer.kind == "base"]
        has_base = tuple(base) == daemon.layers_of(work.images.base.digest)[: len(base)]
        known = daemon.own_layers() if trust else []
        self._known = [*known, tuple(base)] if has_base else known
        self._made: list[str] = []

    def run(self) -> Image:
        work = self._work
        total = len(work.fixed) + work.groups
        for number in range(total):
            if number < len(work.fixed):
                member: _Group | _Fixed = _Fixed(work.fixed[number])
            else:
                member = work.group(number - len(work.fixed))
            self._members.append(member)
            if self._sent == number and self._is_there(member, number):
                self._sent = number + 1
                continue
            self._waiting += member.tar.size if isinstance(member, _Group) else member.size
            last = number == total - 1
            upcoming = number + 1 - len(work.fixed)
            idle = not last and upcoming >= 0 and not work.is_ready(upcoming)
            if not last and (idle or self._waiting >= BATCH_BYTES):
                self._send(final=False)
        return self._end()

    def _is_there(self, member: _Group | _Fixed, number: int) -> bool:
        if not any(len(known) > number for known in self._known):
            return False
        diff_id = member.tar.known() if isinstance(member, _Group) else member.diff_id
        self._known = [known for known in self._known if len(known) > number and known[number] == diff_id]
        return bool(self._known)

    def _end(self) -> Image:
        self._send(final=True)
        image = self._work.image(self._members)
        self._daemon.verify(image.digest, [layer.diff_id for layer in image.layers])
        for partial in {*self._made, *self._daemon.unfinished(self._work.environment)}:
            self._daemon.forget(partial)
        return image

    def _send(self, *, final: bool) -> None:
        sendable: list[Sendable] = [
            member.tar if isinstance(member, _Group) else member for member in self._members
        ]
        archive = Archive(sendable, self._sent, name_of(self._work.environment) if final else None)
        self._work.report(Step("load", f"{len(sendable) - self._sent} layers", self._sent, None, None))
        self._daemon.load(archive.chunks(lambda: self._config(final)))
        self._sent = len(self._members)
        self._waiting = 0

    def _config(self, final: bool) -> bytes:
        work = self._work
        layers = [member.finished() for member in self._members]
        labels = work.images.labels(work.environment, work.lock)
        if not final:
            labels = {PARTIAL_LABEL: work.environment.removeprefix("sha256:")}
        return config_bytes(work.images.base, [replace(layer, reused=False) for layer in layers], labels)


PARTIAL_LABEL = PARTIAL.rpartition(".")[2]
