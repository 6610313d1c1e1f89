"""The use cases behind the protocol: infer, describe, say whether a model can be called."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from vitrine_api import blindness
from vitrine_api.capacity import check_capacity, need_of_limits
from vitrine_api.inference.admission import Admissions, Admitted
from vitrine_api.inference.calling import Calling, NotServed
from vitrine_api.inference.datatypes import BY_DTYPE
from vitrine_api.inference.leases import Leases
from vitrine_api.inference.lines import Ended
from vitrine_api.inference.protocol import InferRequest, Tensor, tensors_of
from vitrine_api.inference.recording import Recorder
from vitrine_api.rates import RateLimit
from vitrine_common.clock import utcnow
from vitrine_common.errors import Invalid, TooLarge, Unavailable, VitrineError
from vitrine_common.fleet import Fleet
from vitrine_common.ids import new_id
from vitrine_common.messages import ModelAnswer, ModelCall, Signature
from vitrine_common.service import Platform
from vitrine_common.states import Reason

PLATFORM = "vitrine"
MAX_SIGNATURES = 10_000


class ModelFailed(VitrineError):
    """The model took the call and did not answer it."""

    status = 500
    title = "The model failed"


class TookTooLong(VitrineError):
    """The model computed for longer than it may."""

    status = 504
    title = "The model took too long"


@dataclass(frozen=True, slots=True)
class Described:
    """A model's name and signature as this caller may know them."""

    name: str
    version: str
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]


class Inference:
    """Calls models for whoever was admitted.

    Args:
        admissions: who may call what.
        calling: the way to the runners.
        leases: quotas of owners and links.
        recorder: writes calls down.
        rate: calls by account, or link and address.
        fleet: the runners: what none of them can take on is refused at once.
        patience: seconds that a call may wait for its turn.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        admissions: Admissions,
        calling: Calling,
        leases: Leases,
        recorder: Recorder,
        rate: RateLimit,
        fleet: Fleet,
        patience: float,
    ) -> None:
        self.admissions = admissions
        self.calling = calling
        self.leases = leases
        self.recorder = recorder
        self._rate = rate
        self._fleet = fleet
        self._patience = patience
        self._storing: asyncio.Task[None] | None = None
        self._signatures: dict[tuple[str, str], tuple[tuple[Signature, ...], tuple[Signature, ...]]] = {}

    async def open(self, platform: Platform) -> None:
        """Take over what killed processes left, hear answers, and begin to store. Raises Unavailable."""
        self.recorder.open()
        await self.calling.open(platform.bus.client)
        platform.background(self.calling.watch_forever(), "calls")
        platform.background(self.leases.tend_forever(), "leases")
        platform.background(self.recorder.sync_forever(), "journal")
        self._storing = platform.background(self.recorder.store_forever(), "records of calls")

    async def close(self) -> None:
        """Give quotas back and store what was written down; no call comes any more."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.wait([self._storing])
        await self.leases.close()
        await self.recorder.close()
        self.calling.close()

    async def infer(self, admitted: Admitted, request: InferRequest) -> list[Tensor]:
        """Return the outputs. Raises what the version, the quotas, the model or the runners have to say."""
        self._check(admitted)
        call = self._call(admitted, request)
        body = _joined(request.inputs)
        link = admitted.link
        if link is not None and link.max_input_bytes is not None and len(body) > link.max_input_bytes:
            raise TooLarge(f"the inputs have {len(body)} bytes; this link takes {link.max_input_bytes}")
        self._rate.take(admitted.rate_key)
        await self.leases.take(admitted)
        await self.recorder.audit(admitted)
        began = utcnow()
        try:
            answered = await self.calling.call(call, body)
        except NotServed:
            self.leases.give(admitted)
            raise
        except Unavailable as error:
            # It may have been begun, so it is a run, and stays counted.
            ended = Ended(None, (), Reason.PLATFORM_ERROR, error.message)
            await self.recorder.note(call.call_id, admitted, request, began, ended)
            raise
        head = answered.head
        if head.state != "answered":
            ended = Ended(head, (), head.reason or Reason.PLATFORM_ERROR, head.message)
            await self.recorder.note(call.call_id, admitted, request, began, ended)
            _raise_failure(head)
        tensors = tensors_of(head.tensors, answered.body)
        await self.recorder.note(call.call_id, admitted, request, began, Ended(head, tensors))
        return tensors

    async def describe(self, admitted: Admitted) -> Described:
        """Return the model's signature, which needs a worker the first time that it is asked for."""
        self._check(admitted)
        version = admitted.version
        key = (version.digest, version.environment_digest or "")
        if key not in self._signatures:
            answered = await self.calling.call(self._call(admitted, InferRequest(), describe=True), b"")
            _raise_failure(answered.head)
            if len(self._signatures) >= MAX_SIGNATURES:
                self._signatures.clear()
            self._signatures[key] = (answered.head.inputs, answered.head.results)
        inputs, outputs = self._signatures[key]
        return Described(*names_of(admitted), inputs, outputs)

    def _check(self, admitted: Admitted) -> None:
        """Raise what speaks against a call before it is counted."""
        admitted.check()
        if admitted.device == "gpu":
            check_capacity(self._fleet, need_of_limits(admitted.spec.limits()))

    def _call(self, admitted: Admitted, request: InferRequest, *, describe: bool = False) -> ModelCall:
        version = admitted.version
        return ModelCall(
            call_id=new_id("run"),
            version_digest=version.digest,
            environment_digest=version.environment_digest or "",
            owner_id=version.owner_id,
            device=admitted.device,
            describe=describe,
            outputs=tuple(item.name for item in request.outputs),
            tensors=tuple(item.part for item in request.inputs),
            size=sum(len(item.data) for item in request.inputs),
            patience=self._patience,
            shared=self.calling.mark,
        )


def names_of(admitted: Admitted) -> tuple[str, str]:
    """Return the model's name and version as this caller may know them; by a link it is always `model`."""
    version, link = admitted.version, admitted.link
    if link is None:
        return f"{version.owner}~{version.model}", str(version.number)
    return "model", blindness.number(link, version) or "1"


def metadata_of(described: Described) -> dict[str, Any]:
    """Return the protocol's model metadata."""
    return {
        "name": described.name,
        "versions": [described.version],
        "platform": PLATFORM,
        "inputs": [_tensor_metadata(item) for item in described.inputs],
        "outputs": [_tensor_metadata(item) for item in described.outputs],
    }


def _tensor_metadata(item: Signature) -> dict[str, Any]:
    kind = BY_DTYPE.get(item.dtype)
    shape = [size if isinstance(size, int) else -1 for size in item.shape]
    return {"name": item.name, "datatype": kind.name if kind else item.dtype, "shape": shape}


def _joined(tensors: list[Tensor]) -> bytes | memoryview:
    return tensors[0].data if len(tensors) == 1 else b"".join(item.data for item in tensors)


_FAULTS: dict[Reason, type[VitrineError]] = {
    Reason.INPUT_INVALID: Invalid,
    Reason.TIMEOUT: TookTooLong,
    Reason.CANCELLED: Unavailable,
    Reason.PLATFORM_ERROR: Unavailable,
}


def _raise_failure(head: ModelAnswer) -> None:
    if head.state != "answered":
        reason = head.reason or Reason.PLATFORM_ERROR
        raise _FAULTS.get(reason, ModelFailed)(head.message or "the model gave no answer")
