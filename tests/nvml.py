"""GPUs for tests: NVML's answers as recorded on a machine with four of them, at the boundary of `pynvml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml
import pytest

GIB = 1 << 30


@dataclass
class Nvml:
    """What the library answers; `used` is what programs of the host use of each GPU, by index."""

    total: int = 80 * GIB
    count: int = 4
    used: dict[int, int] = field(default_factory=dict)
    silent: bool = False

    def install(self, patch: pytest.MonkeyPatch) -> Nvml:
        """Let pynvml answer so."""
        patch.setattr(pynvml, "nvmlInit", self._init)
        patch.setattr(pynvml, "nvmlDeviceGetCount", lambda: self.count)
        patch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: SimpleNamespace(index=index))
        patch.setattr(pynvml, "nvmlDeviceGetName", lambda _: "NVIDIA A100-SXM4-80GB")
        patch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle.index:08d}-aaaa")
        patch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", self._memory)
        return self

    def _init(self) -> None:
        if self.silent:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def _memory(self, handle: SimpleNamespace) -> SimpleNamespace:
        if self.silent:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        used = self.used.get(handle.index, 0)
        return SimpleNamespace(total=self.total, used=used, free=self.total - used)
