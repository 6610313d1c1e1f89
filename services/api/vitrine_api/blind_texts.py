"""What is read of a version because a link to it is blind: who it names, and which files it has."""

from __future__ import annotations

import re
import socket
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from vitrine_api import blindness
from vitrine_api.blindness import EVERYTHING, Sight
from vitrine_api.models import Models
from vitrine_api.scrubbing import readable, telling
from vitrine_api.specs import spec_of
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import Manifest
from vitrine_common.documents import ShareLink, User, Version
from vitrine_common.settings import PlatformSettings

_CACHED = 64
_COMMON = frozenset({"", "localhost", "127.0.0.1", "::1", "vitrine", "api", "nats", "mongo", "minio", "s3"})
"""Names that every instance has by default."""
_MAX_BYTES = 64 << 10
_MAX_FILES = 20
_ABOUT = re.compile(
    r"(?:.*/)?(?:pyproject\.toml|setup\.(?:py|cfg)|citation\.cff|package\.json|authors[^/]*|contributors[^/]*"
    r"|codemeta\.json|\.zenodo\.json|\.git/config|\.mailmap)",
    re.IGNORECASE,
)


def platform_words(settings: PlatformSettings) -> list[str]:
    """Return what would tell of this instance in a text: names of its hosts, of its bucket and folders."""
    hosts = [
        urlsplit(url).hostname or "" for url in (settings.nats.url, settings.mongo.url, settings.s3.endpoint)
    ]
    words = [socket.gethostname(), settings.s3.bucket, str(settings.environments_dir), *hosts]
    return [word for word in words if word not in _COMMON]


class BlindTexts:
    """Reads versions that are shared blindly.

    Args:
        models: their manifests.
        blobs: their files.
        platform_words: what would tell of this instance: host names, the bucket's name.
    """

    def __init__(self, models: Models, blobs: BlobStore, platform_words: Sequence[str]) -> None:
        self._models = models
        self._blobs = blobs
        self._platform_words = tuple(platform_words)
        self._paths: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    async def sight(self, link: ShareLink, version: Version) -> Sight:
        """Return what the link's holder sees of texts, digests and file names."""
        if not link.blind:
            return EVERYTHING
        return blindness.sight(link, self._platform_words, await self._files(version))

    async def _files(self, version: Version) -> tuple[str, ...]:
        known = self._paths.get(version.digest)
        if known is None:
            manifest = await self._models.manifest(version)
            known = self._paths[version.digest] = tuple(entry.path for entry in manifest.files)
            if len(self._paths) > _CACHED:
                self._paths.popitem(last=False)
        return known

    async def look(self, user: User, version: Version) -> tuple[list[str], list[str]]:
        """Return what would tell who the owner is, and where the version's own texts do, in sentences."""
        manifest = await self._models.manifest(version)
        about = [entry.path for entry in manifest.files if _ABOUT.fullmatch(entry.path)][:_MAX_FILES]
        texts = [await self._text(manifest, path) for path in about]
        identities = blindness.identities_of(user.name, user.email, version, texts)
        # The model's own name is replaced everywhere; that a text says it need not be repaired by the author.
        told = [word for word in identities if word not in {version.model, version.reference}]
        return identities, [
            f"{place} says `{word}`"
            for place, text in await self._readable(version, manifest)
            for word in telling(text, told)[:5]
        ]

    async def warnings(self, user: User, version: Version, more: Mapping[str, str]) -> list[str]:
        """Return, in sentences, where a version's own texts, or those of `more` by name, tell its owner."""
        identities, found = await self.look(user, version)
        told = [word for word in identities if word not in {version.model, version.reference}]
        return found + [
            f"{place} says `{word}`" for place, text in more.items() for word in telling(text, told)[:5]
        ]

    async def _readable(self, version: Version, manifest: Manifest) -> Iterable[tuple[str, str]]:
        """Return what a holder may read or be answered with, and where it stands."""
        spec = spec_of(version)
        found = [("the description", spec.description or "")]
        path = spec.model_card_file()
        card = await self._text(manifest, path) if path else spec.model_card or ""
        found.append(("the model card", card))
        for kind, sections in (("input", spec.effective_inputs()), ("output", spec.effective_outputs())):
            for item in sections:
                words = f"{item.name}\n{item.title or ''}\n{item.description or ''}"
                found.append((f"the {kind} `{item.name}`", words))
        return [*found, *await self._examples(version, manifest)]

    async def _examples(self, version: Version, manifest: Manifest) -> Iterable[tuple[str, str]]:
        """Return what stands in the files that holders are offered, notes of cameras included."""
        items = [item for item in spec_of(version).effective_inputs() if item.is_file]
        paths = list(dict.fromkeys(str(path) for item in items for path in item.examples))[:_MAX_FILES]
        entries = [(path, manifest.entry(path)) for path in paths]
        return [
            (f"the example `{path}`", readable(await self._blobs.read_head(entry.digest, _MAX_BYTES)))
            for path, entry in entries
            if entry is not None
        ]

    async def _text(self, manifest: Manifest, path: str) -> str:
        entry = manifest.entry(path)
        if entry is None:
            return ""
        return (await self._blobs.read_head(entry.digest, _MAX_BYTES)).decode(errors="replace")
