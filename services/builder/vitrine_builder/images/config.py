"""The OCI image configuration of an environment, and the parts that make it up.

Source: OCI image specification 1.1, `config.md` and `manifest.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vitrine_common.digests import digest_of_json, sha256_bytes

EPOCH = "1970-01-01T00:00:00Z"
LABEL = "dev.vitrine."
MOST_BASE_LAYERS = 16
_PASSED_ON = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Volumes", "StopSignal", "Shell")
Kind = Literal["base", "system", "wheels", "bytecode", "meta"]


@dataclass(frozen=True)
class ImageLayer:
    """One layer of an image: an uncompressed tar that can be streamed as often as somebody needs it.

    Attributes:
        diff_id: `sha256:…` of the tar.
        size: its bytes.
        packages: `name==version` of what is in it.
        reused: it was there before the build that asks.
        chunks: streams the tar; raises BuildFailure where it cannot.
    """

    diff_id: str
    size: int
    kind: Kind
    packages: tuple[str, ...] = ()
    reused: bool = False
    chunks: Callable[[], Iterator[bytes]] = field(default=lambda: iter(()), compare=False, repr=False)


@dataclass(frozen=True)
class BaseImage:
    """What every environment's image stands on.

    Attributes:
        digest: names the base: of its manifest, or of its root file system's tar.
        layers: from the bottom up; at most `MOST_BASE_LAYERS`.
        settings: its own `config` (variables, entry point), passed on.
        architecture: as OCI names it.
        prefix: where its Python is installed, `/usr` or `/usr/local`.
    """

    digest: str
    layers: tuple[ImageLayer, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    prefix: str = "/usr"

    @property
    def content(self) -> str:
        """Names what is in the base, wherever it came from: a digest of its layers' diff ids."""
        return digest_of_json([layer.diff_id for layer in self.layers])


@dataclass(frozen=True)
class Image:
    """An assembled image. `digest` is that of `config`, which is the image's id in a Docker daemon.

    `tag` is what it is called where there are others.
    """

    environment: str
    tag: str
    config: bytes
    layers: tuple[ImageLayer, ...]

    @property
    def digest(self) -> str:
        """Digest of the configuration."""
        return sha256_bytes(self.config)


def tag_of(environment: str) -> str:
    """Return the tag of an environment's image."""
    return environment.removeprefix("sha256:")


def config_bytes(base: BaseImage, layers: Sequence[ImageLayer], labels: Mapping[str, str]) -> bytes:
    """Return the configuration as canonical JSON; nothing in it tells when or by whom it was made."""
    settings = {key: value for key, value in base.settings.items() if key in _PASSED_ON and value}
    settings["Labels"] = {LABEL + key: value for key, value in sorted(labels.items())}
    variables = [item for item in settings.get("Env") or [] if not item.startswith("PATH=")]
    settings["Env"] = ["PATH=/env/bin:/usr/local/bin:/usr/bin:/bin", *variables]
    document = {
        "architecture": base.architecture,
        "config": settings,
        "created": EPOCH,
        "history": [{"created": EPOCH, "created_by": f"vitrine {layer.kind}"} for layer in layers],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
