"""What the builder and the engine are asked for on behalf of a spec."""

from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. Memory and disk in bytes, timeout in seconds, cpu in cores.

    `gpu_memory` is what it needs of each of its `gpu` GPUs, which it may share then; 0: whole ones.
    """

    cpu: float
    memory: int
    gpu: int
    timeout: float
    disk: int
    processes: int
    gpu_memory: int = 0


DEFAULT_LIMITS = Limits(cpu=1.0, memory=2048 * MIB, gpu=0, timeout=600.0, disk=1024 * MIB, processes=128)


@dataclass(frozen=True, slots=True)
class EnvironmentRequest:
    """The packages that a version needs.

    `requirements_file` is a path in the bundle, `requirements` a list in its place. Without both,
    `preset` names a list of packages that the builder knows (`onnx`: what runs an ONNX model without any
    code), or the environment is bare Python.
    """

    python: str
    package_type: Literal["pip", "conda", "apt"]
    requirements_file: str | None
    preset: Literal["onnx"] | None
    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    """Debian packages, as `name` or `name=version`."""
    system_file: str | None = None
    """A path in the bundle with more of them."""
