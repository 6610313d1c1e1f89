"""Settings of the builder (`VITRINE_BUILDER_*`)."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from vitrine_builder.lock import Target
from vitrine_builder.sdists import BuildLimits

_PYTHON = "3.11"


def _interpreter() -> Path:
    # Not the virtual environment's: sandboxes see the installation below it.
    return Path(sys.base_prefix) / "bin" / f"python{_PYTHON}"


def _platform() -> str:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    return f"{machine}-manylinux_2_28"


class BuilderSettings(BaseSettings):
    """How environments are made. Where packages come from is in `UV_*`, or pip's own settings."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_BUILDER_")

    python: Path = Field(default_factory=_interpreter, description="The interpreter that sandboxes run.")
    platform: str = Field(
        default_factory=_platform, description="Newest wheels accepted, as uv names platforms."
    )
    concurrent_builds: int = Field(default=2, ge=1, description="Builds that one process works on at a time.")
    compile_jobs: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Files compiled at a time; the host's processors by default.",
    )
    resolution_max_age_seconds: float = Field(
        default=24 * 3600, ge=0, description="How long equal requirements give the equal lock."
    )
    index_max_age_seconds: float = Field(
        default=600, ge=0, description="How long what an index says of a package is taken as fresh."
    )
    conda_channels: str = Field(
        default="",
        description="Channels of conda packages, separated by spaces; without any, none can be had.",
    )
    source_timeout_seconds: float = Field(
        default=600, gt=0, description="For building one source distribution."
    )
    source_memory_bytes: int = Field(
        default=4 << 30, gt=0, description="Memory of the sandbox that builds a source distribution."
    )
    source_disk_bytes: int = Field(
        default=2 << 30, gt=0, description="Files that building a source distribution may write."
    )
    resolve_timeout_seconds: float = Field(default=300, gt=0, description="For one list of requirements.")
    install_timeout_seconds: float = Field(default=3600, gt=0, description="For one wheel.")
    compile_timeout_seconds: float = Field(default=1800, gt=0, description="For one wheel.")
    images: Literal["never", "docker", "registry", "layout"] = Field(
        default="never",
        description="Whether environments become images too, and where they go: `docker` loads them into a "
        "daemon, `registry` pushes them, `layout` keeps what others fetch.",
    )
    docker_url: str = Field(
        default_factory=lambda: os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock",
        description="The Docker daemon that gets images; `DOCKER_HOST` by default.",
    )
    base_image: str = Field(
        default="", description="An image of that daemon to build on, in place of a base of this host."
    )
    registry: str = Field(
        default="",
        description="Where images are pushed, as `host:port/prefix`; HTTP is spoken to loopback, and where "
        "`http://` stands before it.",
    )
    registry_user: str = Field(default="", description="Login of the registry.")
    registry_password: SecretStr = Field(default=SecretStr(""), description="Its password, or a token.")
    registry_compression: Literal["zstd", "gzip"] = Field(
        default="zstd", description="Of pushed layers; Docker before 23 pulls `gzip` only."
    )
    registry_mount_from: str = Field(
        default="",
        description="Repositories of that registry whose blobs may be used, separated by spaces.",
    )
    registry_pull: bool = Field(
        default=False,
        description="Have the Docker daemon of `docker_url` pull what was pushed.",
    )
    base: str = Field(
        default="", description="Digest of the base system to use; by default the one made last."
    )
    debian_release: str = Field(default="bookworm", description="Debian release of bases that are made.")
    apt_sources: str = Field(
        default="",
        description="Debian archives as `ADDRESS SUITE COMPONENT`, separated by semicolons; `{snapshot}` in "
        "an address becomes the snapshot's time. By default those of the host's apt.",
    )
    apt_snapshot: str = Field(
        default="", description="Time at which archives are frozen, as 20261101T000000Z."
    )
    apt_keyring: Path | None = Field(
        default=None, description="Keys that sign the archives; Debian's own by default."
    )
    apt_unsigned: bool = Field(default=False, description="Take packages from archives that nobody signed.")
    system_timeout_seconds: float = Field(
        default=1800, gt=0, description="For each step of installing system packages or making a base."
    )
    max_file_bytes: int = Field(default=16 << 30, gt=0, description="Of any file in or around a wheel.")
    free_bytes: int = Field(default=512 << 20, ge=0, description="Left on the disk before a build begins.")
    store_bytes: int = Field(
        default=50 << 30,
        gt=0,
        description="Most that environments, layers and caches may take on the disk; what nobody uses goes, "
        "what was not used for longest first, and is made again when a run wants it.",
    )
    replica_bytes: int = Field(
        default=50 << 30,
        gt=0,
        description="Most that layers packed for hosts without this folder may take in S3; what nobody asked "
        "for for longest goes.",
    )
    collect_seconds: float = Field(
        default=60, gt=0, description="Pause between two looks at the size of the store."
    )
    max_tries: int = Field(default=3, ge=1, description="Of a build whose failure may pass.")
    retry_seconds: float = Field(default=2.0, ge=0, description="Before the second try; doubled each time.")
    max_claims: int = Field(default=5, ge=1, description="Of a build whose builder died.")

    @property
    def build_limits(self) -> BuildLimits:
        """What the build of one source distribution may use."""
        return BuildLimits(
            seconds=self.source_timeout_seconds,
            memory_bytes=self.source_memory_bytes,
            disk_bytes=self.source_disk_bytes,
        )

    @property
    def target(self) -> Target:
        """What environments are made for."""
        return Target(_PYTHON, self.platform)
