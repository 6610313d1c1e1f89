"""What the GPUs of this host do, by NVML (NVIDIA Management Library); silent where there is none."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pynvml

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuSample:
    """The GPUs of the host together: mean utilisation in percent, used framebuffer in bytes."""

    utilisation_percent: float
    memory_utilisation_percent: float
    framebuffer_bytes: int


class Gpus:
    """Reads NVML. Where the library or a driver is missing, `count` is 0 and `sample` gives None."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self.count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            log.info("no GPU here", extra={"nvml": str(error)})
            self.count = 0

    def sample(self) -> GpuSample | None:
        """Return what the GPUs do now, or None where NVML does not answer."""
        if self.count == 0:
            return None
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(self.count)]
            rates = [pynvml.nvmlDeviceGetUtilizationRates(handle) for handle in handles]
            used = sum(int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles)
        except pynvml.NVMLError as error:
            log.warning("NVML stopped answering", extra={"nvml": str(error)})
            return None
        return GpuSample(
            utilisation_percent=sum(rate.gpu for rate in rates) / self.count,
            memory_utilisation_percent=sum(rate.memory for rate in rates) / self.count,
            framebuffer_bytes=used,
        )
