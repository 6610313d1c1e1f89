"""Finding out which guarantees hold here, by looking around in a real sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vitrine_engine.looking import NAMESPACES, look_around, own_namespaces
from vitrine_engine.process.cgroups import Cgroups
from vitrine_engine.protocol import Isolation, StartError

if TYPE_CHECKING:
    from vitrine_engine.process.engine import ProcessEngine

WARNINGS = {
    "memory": "Memory is watched, not capped: a fast program can take much more before it is killed. "
    "Give the service a cgroup that it may write to (systemd: Delegate=yes).",
    "processes": "Processes are capped by RLIMIT_NPROC, not by a cgroup.",
    "cpu": "CPU use is not capped: one sandbox can slow the others. Give the service a writable cgroup.",
    "seccomp": "System calls are not filtered on this architecture: tenants reach the whole kernel.",
    "user_ids": "All sandboxes run as the service's own user. Namespaces separate them; run the service as "
    "root to give each a user of its own as well.",
    "copy": "Bundles are copied for every run, because the kernel refuses an overlay or an id-mapped mount "
    "here: large models start slowly and count twice as memory. Linux 5.19 or newer is needed.",
}
NO_USER_NAMESPACES = (
    "nobody may make user namespaces here. In a container, start it with the system-call filter "
    "infra/compose/seccomp-sandbox.json; on the host, look at the sysctls user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
)
WAYS_OUT = {
    "mount proc": (
        "parts of /proc are covered in this container, and then the kernel gives nobody a fresh one: "
        "start it with security_opt systempaths=unconfined"
    ),
    "Permission denied": (
        "a security module forbids it; under AppArmor start the container with security_opt "
        "apparmor:unconfined"
    ),
    "namespace": NO_USER_NAMESPACES,
    "unshare user ns": NO_USER_NAMESPACES,
    "Operation not permitted": (
        "a system call is filtered that sandboxes need: start the container with "
        "infra/compose/seccomp-sandbox.json"
    ),
}
"""Signs in the launcher's words that something is missing here, and what the operator does then."""


async def probe(engine: ProcessEngine, cgroups: Cgroups, *, as_root: bool) -> Isolation:
    """Report; raises `StartError` where no sandbox works."""
    seen = await _look(engine)
    version: Literal["cgroup-v1", "cgroup-v2"] = "cgroup-v1" if cgroups.version == 1 else "cgroup-v2"
    has = cgroups.controllers
    namespaces = own_namespaces(seen)
    overlay = " /work overlay " in seen
    seccomp = "Seccomp:\t2" in seen
    warnings = {
        "memory": "memory" not in has,
        "processes": "pids" not in has,
        "cpu": "cpu" not in has,
        "seccomp": not seccomp,
        "user_ids": not as_root,
        "copy": not overlay,
    }
    missing = [name for name in NAMESPACES if name not in namespaces]
    texts = [WARNINGS[name] for name, applies in warnings.items() if applies]
    texts += [f"Sandboxes share the host's {name} namespace." for name in missing]
    return Isolation(
        engine="process",
        namespaces=namespaces,
        user_ids="distinct" if as_root else "shared",
        memory=version if "memory" in has else "watcher",
        processes=version if "pids" in has else "watcher",
        cpu=version if "cpu" in has else "none",
        seccomp=seccomp,
        work_directory="overlay" if overlay else "copy",
        warnings=tuple(texts),
    )


async def _look(engine: ProcessEngine) -> str:
    try:
        return await look_around(engine)
    except StartError as error:
        raise StartError(f"{error}{way_out(str(error))}") from error


def way_out(message: str) -> str:
    """Return what to do about a sandbox that did not start, to be put behind the reason; empty if unknown."""
    return next((f" ({advice})" for sign, advice in WAYS_OUT.items() if sign in message), "")
