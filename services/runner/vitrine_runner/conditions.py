"""What runs run on here: facts for receipts. Models and sizes, never anything that names this one host."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import vitrine_harness
import vitrine_metrics
from vitrine_common.digests import digest_of_json, sha256_file
from vitrine_common.documents import Conditions
from vitrine_common.spec import Limits
from vitrine_engine import Sandbox

CPUINFO = Path("/proc/cpuinfo")
NVIDIA = Path("/proc/driver/nvidia/gpus")
_CPU_NAMES = ("model name", "Model", "Processor")


def conditions_of(sandbox: Sandbox, engine: str, limits: Limits) -> Conditions:
    """Return what a run in `sandbox` has to do with.

    Args:
        sandbox: where it runs; one made from an image says so by `image_digest`.
        engine: what keeps it apart, such as `process`.
        limits: what it may use; with a GPU it is shown the host's.
    """
    return Conditions(
        engine=engine,
        image=getattr(sandbox, "image_digest", None),
        harness=harness_digest(),
        platform=_platform(),
        cpu=cpu_model(),
        cores=_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=gpu_models() if limits.gpu else [],
        cpu_limit=limits.cpu,
        memory_limit=limits.memory,
    )


@cache
def harness_digest() -> str:
    """Return the digest of what every sandbox is given to run: over the paths and digests of its files."""
    package = Path(vitrine_harness.__file__).parent
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    named = {path.relative_to(package.parent).as_posix(): sha256_file(path) for path in files}
    metrics = Path(vitrine_metrics.__file__)
    return digest_of_json({**named, metrics.name: sha256_file(metrics)})


@cache
def cpu_model(path: Path = CPUINFO) -> str | None:
    """Return the processor's model, as the kernel calls it."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in _CPU_NAMES and value.strip():
            return value.strip()[:200]
    return None


@cache
def gpu_models(folder: Path = NVIDIA) -> list[str]:
    """Return the models of the NVIDIA GPUs, as their driver calls them."""
    found = []
    for path in sorted(folder.glob("*/information")):
        for line in path.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                found.append(value.strip()[:200])
    return found


@cache
def _platform() -> str:
    libc = "".join(platform.libc_ver())
    return " ".join(
        part for part in (platform.system(), platform.release(), platform.machine(), libc) if part
    )


@cache
def _cores() -> int | None:
    return os.cpu_count()
