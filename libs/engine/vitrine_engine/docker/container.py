"""What a sandbox's container is made of: the body of Docker's `POST /containers/create`."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_engine.protocol import Limits, SandboxSpec
from vitrine_harness.workspace import CHANNELS, INODE_BYTES, WORK

PYTHON = f"/opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
CONTROL = "/vitrine/control"
SOCKET_NAME = "socket"
BOOT = (
    "import sys; sys.path.insert(0, '/vitrine/harness'); "
    f"from vitrine_harness.container import main; main('{CONTROL}/{SOCKET_NAME}')"
)
ENGINE_LABEL, SANDBOX_LABEL = "vitrine.engine", "vitrine.sandbox"
HARNESS_PROCESSES = 4
HARNESS_BYTES = 24 << 20
"""What the harness needs itself, on top of the tenant's limit."""
LOG = {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "1"}}
"""Only the harness writes there, and only when it cannot start."""
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
MASKED_PATHS = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/proc/sysrq-trigger"),
    # The machine's hardware and control groups, and what an image may have left of whoever made it.
    *("/sys", "/root", "/home", "/boot", "/media", "/mnt", "/run", "/srv", "/etc/shadow", "/etc/gshadow"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one container of a sandbox may use: all of the sandbox's limits, or an even part of them."""

    memory_bytes: int
    processes: int
    cpus: float

    @property
    def fields(self) -> dict[str, int]:
        """The limits as Docker takes them."""
        memory = self.memory_bytes + HARNESS_BYTES
        return {
            "Memory": memory,
            "MemorySwap": memory,
            "PidsLimit": self.processes + HARNESS_PROCESSES,
            "NanoCpus": max(10_000_000, math.ceil(self.cpus * 1e9)),
        }


def share(limits: Limits, parts: int, bundle_bytes: int) -> Share:
    """Return the share of one of `parts` containers; each holds a copy of the bundle besides."""
    return Share(
        memory_bytes=limits.memory_bytes // parts + bundle_bytes,
        processes=max(4, limits.processes // parts),
        cpus=limits.cpus / parts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that the containers of one sandbox have in common."""

    spec: SandboxSpec
    image: str
    shows_environment: bool
    """Whether the environment's directory is shown at `/env`; else the image has it there."""
    bundle_bytes: int
    uid: int
    tag: str
    harness: Path
    bare: Path
    empty: Path

    def config(self, directory: Path, limits: Share) -> dict[str, Any]:
        """Return the configuration of a container whose control socket lies in `directory`."""
        user = f"{self.uid}:{self.uid}"
        return {
            "Image": self.image,
            "Entrypoint": [PYTHON, "-I", "-S", "-B", "-c", BOOT],
            "Cmd": [],
            "User": user,
            "WorkingDir": "/",
            "Hostname": "vitrine",
            "NetworkDisabled": True,
            "Labels": {ENGINE_LABEL: self.tag, SANDBOX_LABEL: self.spec.id},
            "StopSignal": "SIGKILL",
            "HostConfig": {
                "NetworkMode": "none",
                "IpcMode": "private",
                "CgroupnsMode": "private",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "MaskedPaths": [path for path in MASKED_PATHS if not self._is_shown_below(path)],
                "ReadonlyPaths": list(READ_ONLY_PATHS),
                "RestartPolicy": {"Name": "no"},
                "LogConfig": LOG,
                "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
                "Tmpfs": self._directories(),
                "Mounts": self._mounts(directory),
                **limits.fields,
                **(GPUS if self.spec.gpu else {}),
            },
        }

    def setup(self) -> dict[str, Any]:
        """Return what the harness is told."""
        limits = self.spec.limits
        return {
            "disk_bytes": limits.disk_bytes,
            "processes": None,
            "threads": max(1, math.ceil(limits.cpus)),
            "library_path": "",
            "gpu": self.spec.gpu,
            "env": dict(self.spec.env),
        }

    def _directories(self) -> dict[str, str]:
        disk = self.spec.limits.disk_bytes
        own = f"mode=0755,uid={self.uid},gid={self.uid}"
        plain = "rw,exec,nosuid,nodev"
        return {
            WORK: f"{plain},{_size(disk + self.bundle_bytes)},{own}",
            "/tmp": f"{plain},{_size(disk)},mode=1777",  # noqa: S108 - inside a sandbox
            "/dev/shm": f"{plain},{_size(disk)},mode=1777",  # noqa: S108 - inside a sandbox
            CHANNELS: f"rw,noexec,nosuid,nodev,size=64k,{own}",
        }

    def _is_shown_below(self, path: str) -> bool:
        return any(f"{bind.target}/".startswith(f"{path}/") for bind in self.spec.binds)

    def _mounts(self, directory: Path) -> list[Mapping[str, Any]]:
        shown = [
            (self.harness, "/vitrine/harness"),
            (directory, CONTROL),
            (self.spec.bundle or self.empty, "/bundle"),
            *((directory / name, f"/etc/{name}") for name in HOST_FILES),
        ]
        if self.shows_environment:
            shown.append((self.spec.environment or self.bare, "/env"))
        binds = [_bind(source, target, writable=False) for source, target in shown]
        return binds + [_bind(bind.source, bind.target, writable=bind.writable) for bind in self.spec.binds]


GPUS = {"DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]}
HOST_FILES = ("passwd", "group", "hosts", "resolv.conf", "nsswitch.conf")


def host_files(uid: int) -> dict[str, str]:
    """Return the files of `/etc` that would else tell of the image's users or of the host's network."""
    return {
        "passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\nvitrine:x:{uid}:{uid}::/tmp:/bin/sh\n",
        "group": f"root:x:0:\nvitrine:x:{uid}:\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "resolv.conf": "",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }


def _size(size: int) -> str:
    return f"size={size},nr_inodes={max(1024, size // INODE_BYTES)}"


def _bind(source: Path, target: str, *, writable: bool) -> dict[str, Any]:
    options = {"Propagation": "rprivate"}
    return {
        "Type": "bind",
        "Source": str(source.resolve()),
        "Target": target,
        "ReadOnly": not writable,
        "BindOptions": options,
    }


def size_of(bundle: Path | None) -> int:
    """Return the bytes that a copy of a bundle takes, in whole pages."""
    if bundle is None:
        return 0
    pages = [-(-path.lstat().st_size // 4096) + 1 for path in bundle.rglob("*")]
    return sum(pages) * 4096
