"""The GPUs of this host, and which worker has which: by NVML (NVIDIA Management Library) where it answers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pynvml

from vitrine_common.messages import GpuState

log = logging.getLogger(__name__)

FREE_SHARE = 0.9
"""A whole GPU is free when so much of its memory is: a driver, or a screen, uses a little always."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU. Without NVML, a name and a size of 0 stand for what nobody knows."""

    index: int
    uuid: str = ""
    name: str = "unknown"
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """GPUs that a worker was given, and how much of the memory of each; 0: all of it."""

    devices: tuple[Device, ...]
    memory: int

    @property
    def environment(self) -> dict[str, str]:
        """What keeps CUDA to these GPUs (CUDA's programming guide, environment variables)."""
        names = [device.uuid or str(device.index) for device in self.devices]
        return {"CUDA_VISIBLE_DEVICES": ",".join(names), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if names else {}


@dataclass
class Gpus:
    """Gives GPUs to workers.

    Args:
        devices: what there is.
    """

    devices: Sequence[Device]
    _grants: list[Grant] = field(default_factory=list)

    def grant(self, number: int, memory: int) -> Grant | None:
        """Give away so many GPUs, the emptiest first; None while they are not to be had."""
        fitting = [device for device in self.devices if self._fits(device, memory)]
        if len(fitting) < number:
            return None
        chosen = sorted(fitting, key=lambda device: (-self._free(device), device.index))[:number]
        grant = Grant(tuple(chosen), memory)
        self._grants.append(grant)
        return grant

    def give_back(self, grant: Grant) -> None:
        """Take GPUs back from a worker that is gone. Idempotent."""
        if grant in self._grants:
            self._grants.remove(grant)

    def suffice(self, number: int, memory: int) -> bool:
        """Whether so many GPUs with so much memory are here at all."""
        return (
            sum(not device.memory_bytes or device.memory_bytes >= memory for device in self.devices) >= number
        )

    def states(self) -> tuple[GpuState, ...]:
        """Return what there is, and what is free of it now."""
        return tuple(
            GpuState(
                name=device.name,
                memory_bytes=device.memory_bytes,
                free_bytes=self._free(device),
                users=len(self._of(device)),
                free=self._fits(device, 0),
            )
            for device in self.devices
        )

    def _of(self, device: Device) -> list[Grant]:
        return [grant for grant in self._grants if device in grant.devices]

    def _fits(self, device: Device, memory: int) -> bool:
        grants = self._of(device)
        if not device.memory_bytes or not memory:
            return not grants and self._free(device) >= FREE_SHARE * device.memory_bytes
        if any(not grant.memory for grant in grants):
            return False
        promised = sum(grant.memory for grant in grants)
        return promised + memory <= device.memory_bytes and memory <= self._free(device)

    def _free(self, device: Device) -> int:
        """Return the bytes that nobody uses, other programs included; a GPU that does not answer has none."""
        if not device.memory_bytes:
            return 0
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(device.index)
            return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
        except pynvml.NVMLError as error:
            log.warning("a GPU does not answer", extra={"gpu": device.index, "nvml": str(error)})
            return 0


def find_gpus(*, wanted: bool, certain: bool) -> Gpus:
    """Return the GPUs that NVML knows.

    Args:
        wanted: whether this host takes runs that need one at all.
        certain: whether the operator says that there is one, even where NVML does not answer.
    """
    if not wanted:
        return Gpus(())
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]
        found = tuple(_device(index, handle) for index, handle in enumerate(handles))
    except pynvml.NVMLError as error:
        log.warning("NVML does not answer: %s", error)
        found = ()
    return Gpus(found or (Device(0),) * certain)


def _device(index: int, handle: object) -> Device:
    return Device(
        index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    )
