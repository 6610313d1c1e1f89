"""What keeps the containers of this daemon apart, found by looking around in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from vitrine_engine.looking import NAMESPACES, look_around, own_namespaces
from vitrine_engine.protocol import Isolation

if TYPE_CHECKING:
    from vitrine_engine.docker.engine import DockerEngine

WARNINGS = {
    "memory": "The Docker daemon cannot limit memory on its host: enable the memory control group.",
    "processes": "The Docker daemon cannot limit processes on its host: enable the pids control group.",
    "cpu": "The Docker daemon cannot limit CPU use on its host: enable the cpu control group.",
    "seccomp": "System calls are not filtered on this architecture: tenants reach what Docker leaves open.",
    "docker": "The Docker daemon filters no system calls by itself; only the harness does.",
    "user": "Sandboxes share the host's user namespace: their users are host users without names and "
    "without capabilities. `userns-remap` in the daemon's settings gives containers one of their own.",
    "copy": "Bundles are copied for every run of a script: containers have no right to mount an overlay. "
    "Large models start slowly and count twice as memory; the process engine shares them.",
}


async def probe(engine: DockerEngine, info: Mapping[str, Any]) -> Isolation:
    """Report; raises `StartError` where no sandbox works."""
    seen = await look_around(engine)
    options = [str(item) for item in info.get("SecurityOptions") or ()]
    remapped = any("name=userns" in item or "name=rootless" in item for item in options)
    namespaces = own_namespaces(seen)
    version: Literal["cgroup-v1", "cgroup-v2"] = (
        "cgroup-v2" if str(info.get("CgroupVersion")) == "2" else "cgroup-v1"
    )
    seccomp = "Seccomp:\t2" in seen
    warnings = {
        "memory": not info.get("MemoryLimit"),
        "processes": not info.get("PidsLimit"),
        "cpu": not info.get("CpuCfsQuota"),
        "seccomp": not seccomp,
        "docker": not any("name=seccomp" in item for item in options),
        "user": not remapped and "user" not in namespaces,
        "copy": True,
    }
    texts = [WARNINGS[name] for name, applies in warnings.items() if applies]
    missing = [name for name in NAMESPACES if name not in namespaces and name != "user"]
    texts += [f"Sandboxes share the host's {name} namespace." for name in missing]
    return Isolation(
        engine="docker",
        namespaces=namespaces,
        user_ids="distinct",
        memory="watcher" if warnings["memory"] else version,
        processes="watcher" if warnings["processes"] else version,
        cpu="none" if warnings["cpu"] else version,
        seccomp=seccomp,
        work_directory="copy",
        warnings=tuple(texts),
    )
