"""What versions run in: packages, layers, differences, and files that make an environment again."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from vitrine.errors import ClientError
from vitrine.references import LinkAddress, Reference
from vitrine.results import Result

if TYPE_CHECKING:
    from vitrine.transport import Transport


class Package(Result):
    """A locked package; sizes in bytes."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    size_bytes: int | None = None
    reused: bool | None = None


class Layer(Result):
    """A layer, from the bottom up."""

    digest: str
    kind: str
    size_bytes: int = 0
    packages: tuple[str, ...] = ()
    reused: bool = False


class Environment(Result):
    """What a version runs in. `told` is false by a blind link, which tells next to nothing."""

    reference: str | None = None
    digest: str
    python: str
    told: bool = True
    packages: tuple[Package, ...] = ()
    conda: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    base_digest: str | None = None
    system_digest: str | None = None
    image_digest: str | None = None
    layers: tuple[Layer, ...] = ()
    size_bytes: int = 0
    ready_at: datetime | None = None
    existed: bool = False
    timings_ms: dict[str, float] = {}
    sbom_digest: str | None = None
    provenance_digest: str | None = None
    lock: str = ""


class Change(Result):
    """A package that differs; None where it is not there."""

    name: str
    before: str | None = None
    after: str | None = None


class EnvironmentDiff(Result):
    """How one environment differs from another; bytes of the layers that both or only one of them has."""

    before: str
    after: str
    same: bool = False
    python: Change | None = None
    base: Change | None = None
    packages: tuple[Change, ...] = ()
    system: tuple[Change, ...] = ()
    layers_shared: int = 0
    layers_added: int = 0
    layers_removed: int = 0
    shared_bytes: int = 0
    added_bytes: int = 0
    removed_bytes: int = 0


class Environments:
    """Reads the environments of one platform."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def show(self, target: Reference | LinkAddress) -> Environment:
        """Return the environment of a version or of what a link shares. Raises NotFound."""
        return Environment.model_validate(self._transport.call("GET", _place(target)))

    def diff(self, before: Reference, after: Reference) -> EnvironmentDiff:
        """Return how the environment of `after` differs from that of `before`. Raises NotFound."""
        found = self._transport.call("GET", f"{_place(before)}/diff", params={"to": str(after)})
        return EnvironmentDiff.model_validate(found)

    def sbom(self, target: Reference | LinkAddress) -> bytes:
        """Return what is in an environment, as CycloneDX. Raises NotFound."""
        return self._bytes(f"{_place(target)}/sbom")

    def provenance(self, target: Reference | LinkAddress) -> bytes:
        """Return where an environment comes from, as a signed in-toto statement. Raises Refused."""
        return self._bytes(f"{_place(target)}/provenance")

    def export(self, target: Reference | LinkAddress, folder: Path) -> tuple[Path, ...]:
        """Write the files that make an environment again; return them. Raises NotFound, ClientError."""
        data = self._bytes(f"{_place(target)}/export")
        written = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for entry in archive.infolist():
                    # A platform that is not what it seems must not write elsewhere.
                    path = folder / Path(entry.filename).name
                    path.write_bytes(archive.read(entry))
                    written.append(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise ClientError(f"{folder} cannot be written: {error}") from error
        return tuple(written)

    def _bytes(self, path: str) -> bytes:
        with self._transport.download(path) as answer:
            return answer.read()


def _place(target: Reference | LinkAddress) -> str:
    if isinstance(target, LinkAddress):
        return f"/links/{quote(target.token, safe='')}/environment"
    return f"/versions/{target.path}/environment"
