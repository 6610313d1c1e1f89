"""The protocol for models that are run rather than called: predictors, MLflow models, scripts, projects.

A call is an ordinary run, stored first and carried out later, whose end is waited for.
"""

from __future__ import annotations

import asyncio
import json
from itertools import groupby
from typing import Any

from vitrine_api.blind_texts import BlindTexts
from vitrine_api.blindness import EVERYTHING, Sight
from vitrine_api.inference.admission import Admitted
from vitrine_api.inference.calling import NotServed
from vitrine_api.inference.protocol import InferRequest, Tensor
from vitrine_api.inference.service import Described, TookTooLong, names_of
from vitrine_api.inference.values import bytes_tensor, inputs_of, outputs_of, result_tensors, values_of
from vitrine_api.policy import Action, Member, Principal, Visitor, require
from vitrine_api.rates import RateLimit
from vitrine_api.runs import RunRecord, Runs
from vitrine_api.settings import ApiSettings
from vitrine_common.blobs import BlobStore
from vitrine_common.documents import Output
from vitrine_common.errors import Denied, Invalid, TooLarge, Unavailable, VitrineError
from vitrine_common.states import Reason, RunState

STOP_SECONDS = 5.0
"""How long a run that was given up may take to say that it stopped."""
_RETRY_SECONDS = 5.0


class ProgramFailed(VitrineError):
    """The author's program did not do what was asked."""

    status = 422
    title = "The program failed"


class Programs:
    """Runs models for whoever was admitted, and waits.

    Args:
        runs: takes runs and follows them.
        texts: what holders of blind links see of texts and names.
        blobs: files that models made.
        rate: runs by account, or link and address.
        settings: how long a run may wait to be begun, and how much an answer may have.
    """

    def __init__(
        self, runs: Runs, texts: BlindTexts, blobs: BlobStore, rate: RateLimit, settings: ApiSettings
    ) -> None:
        self._runs = runs
        self._texts = texts
        self._blobs = blobs
        self._rate = rate
        self._patience = settings.call_wait_seconds
        self._limit = settings.max_run_bytes

    async def describe(self, admitted: Admitted) -> Described:
        """Return the declared inputs and outputs as tensors. Raises Gone, Unauthenticated, Conflict."""
        admitted.check()
        return Described(*names_of(admitted), inputs_of(admitted.spec), outputs_of(admitted.spec))

    async def infer(self, admitted: Admitted, request: InferRequest) -> list[Tensor]:
        """Return the outputs. Raises what the version, the inputs, the quotas or the run have to say."""
        admitted.check()
        wanted = _wanted(admitted, request)
        values = values_of(admitted.spec, request.inputs)
        self._rate.take(admitted.rate_key)
        principal, version = admitted.principal, admitted.version
        match principal:
            case Member():
                record = await self._runs.start(principal, version, values)
            case Visitor():
                record = await self._runs.start_by_link(principal, version, values)
            case _:
                raise Denied("only accounts and holders of links run models")
        record = await self._ended(principal, record.request.id)
        require(principal, Action.OPEN, record.request)
        if record.state is not RunState.SUCCEEDED:
            _raise_failure(record)
        sight = await self._texts.sight(admitted.link, version) if admitted.link else EVERYTHING
        return await self._tensors(record.run.outputs if record.run else [], wanted, sight)

    async def _ended(self, principal: Principal, run_id: str) -> RunRecord:
        """Return a run that has ended; one that nobody begins in time is given up. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._patience) as patience:
                async for change in self._runs.follow(principal, run_id).changes():
                    if change.kind == "end" and change.state is not None:
                        return change.state
                    if change.state is not None and change.state.state is not RunState.QUEUED:
                        patience.reschedule(None)  # its own time limit ends it
        except TimeoutError:
            return await self._given_up(principal, run_id)
        raise Unavailable("the service is being restarted; the run goes on without this answer")

    async def _given_up(self, principal: Principal, run_id: str) -> RunRecord:
        """Cancel a run that waits; one that was begun and ended in the last moment counts."""
        await self._runs.cancel(principal, run_id)
        record = await self._runs.follow(principal, run_id).wait(STOP_SECONDS)
        if record.final and record.state is not RunState.CANCELLED:
            return record
        raise NotServed(
            f"no runner began this run within {self._patience:g} s, and it was cancelled; try again later, "
            "or ask the operator for more runners",
            _RETRY_SECONDS,
        )

    async def _tensors(self, outputs: list[Output], wanted: set[str], sight: Sight) -> list[Tensor]:
        chosen = [item for item in outputs if {item.name, f"{item.name}.score"} & wanted]
        size = sum(item.size or 0 for item in chosen)
        if size > self._limit:
            raise TooLarge(
                f"the outputs have {size} bytes, and an answer {self._limit} at most; name fewer `outputs`, "
                "or fetch the files of a run"
            )
        found: list[Tensor] = []
        for (name, kind), group in groupby(
            sorted(chosen, key=lambda item: item.name), lambda item: (item.name, item.type)
        ):
            items = list(group)
            if items[0].digest is None:
                listed = [json.loads(item.value) for item in items if item.value is not None]
                found += result_tensors(name, kind, listed)
            else:
                found.append(await self._files(name, items, sight))
        order = [item.name for item in outputs]
        found.sort(key=lambda item: _place(order, item.name))
        return [item for item in found if item.name in wanted]

    async def _files(self, name: str, items: list[Output], sight: Sight) -> Tensor:
        data = [await self._blobs.get_bytes(item.digest or "", self._limit) for item in items]
        if items[0].type not in {"image", "file"}:  # a value that was too large to be kept as one
            return bytes_tensor(name, data)
        parameters: dict[str, Any] = {}
        for index, item in enumerate(items):
            which = f".{index}" if index else ""
            parameters[f"content_type{which}"] = item.media_type or "application/octet-stream"
            parameters[f"name{which}"] = sight.output_name(name, item.filename) or name
        return bytes_tensor(name, data, parameters)


def _place(order: list[str], tensor: str) -> int:
    name = tensor if tensor in order else tensor.removesuffix(".score")
    return order.index(name)


def _wanted(admitted: Admitted, request: InferRequest) -> set[str]:
    """Return the names of the outputs that are asked for, all without a choice. Raises Invalid."""
    known = [item.name for item in outputs_of(admitted.spec)]
    if not request.outputs:
        return set(known)
    for item in request.outputs:
        if item.name not in known:
            raise Invalid(f"the model has no output `{item.name}`; it has {', '.join(known)}")
    return {item.name for item in request.outputs}


def _raise_failure(record: RunRecord) -> None:
    run = record.run
    reason, message = (run.reason, run.message) if run else (None, "")
    message = message or f"the run ended without a result ({reason or record.state})"
    match reason:
        case Reason.INPUT_INVALID:
            raise Invalid(message)
        case Reason.TIMEOUT:
            raise TookTooLong(message)
        case Reason.EXPIRED:
            raise NotServed(message, _RETRY_SECONDS)
        case Reason.CANCELLED | Reason.PLATFORM_ERROR:
            raise Unavailable(message)
    raise Unavailable(message) if reason is None else ProgramFailed(message)
