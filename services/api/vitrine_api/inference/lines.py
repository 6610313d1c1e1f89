"""A synchronous call as a line of the journal: the JSON of its `RunRequest`, made without making one.

It is written before each answer, and a model of forty checked fields costs more than all the rest of it.
Whoever reads the journal checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from vitrine_api.inference.admission import Admitted
from vitrine_api.inference.datatypes import to_json
from vitrine_api.inference.protocol import InferRequest, Tensor
from vitrine_api.policy import Member, Visitor
from vitrine_common.clock import milliseconds_between, utcnow
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.messages import ModelAnswer
from vitrine_common.states import Reason, RunState

SHOWN_ELEMENTS = 64
"""Outputs of up to so many numbers stand in the run itself."""
INPUT = "tensor:{}"
"""How a tensor stands among a run's inputs: no declared input can have such a name."""


class Ended:
    """How a call ended: by an answer, or by a reason and a message."""

    __slots__ = ("answer", "message", "reason", "tensors")

    def __init__(
        self,
        answer: ModelAnswer | None,
        tensors: Sequence[Tensor] = (),
        reason: Reason | None = None,
        message: str = "",
    ) -> None:
        self.answer = answer
        self.tensors = tensors
        self.reason = reason
        self.message = message


def line_of(call_id: str, admitted: Admitted, request: InferRequest, began: datetime, ended: Ended) -> bytes:
    """Return the line, without its end."""
    version, principal, link = admitted.version, admitted.principal, admitted.link
    now = utcnow()
    inputs = {INPUT.format(item.name): _described(item) for item in request.inputs}
    line: dict[str, Any] = {
        "_id": call_id,
        "created_at": began,
        "version_id": version.id,
        "version_digest": version.digest,
        "environment_digest": version.environment_digest or "",
        "owner_id": version.owner_id,
        "user_id": principal.id if isinstance(principal, Member) else None,
        "link_id": link.id if link is not None else None,
        "visitor_id": principal.visitor_id if isinstance(principal, Visitor) else None,
        "blind": link is not None and (link.blind or bool(link.venue_id)),
        # There are only texts and whole numbers in it, which orjson writes as `canonical_json` does.
        "inputs": orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS).decode(),
        "device": admitted.device,
        "expires_at": now,
        "call": _outcome(ended, began, now),
    }
    return orjson.dumps(line)


def _outcome(ended: Ended, began: datetime, now: datetime) -> dict[str, Any]:
    head = ended.answer
    waited = head.waited_ms if head is not None else None
    cold = head.cold if head is not None else None
    return {
        "state": (RunState.SUCCEEDED if ended.reason is None else RunState.FAILED).value,
        "reason": ended.reason.value if ended.reason is not None else None,
        "message": ended.message[:2000],
        "cold": cold,
        "outputs": [_output(item) for item in ended.tensors],
        "timings": {
            "queued_ms": None if cold else waited,
            "start_ms": waited if cold else None,
            "compute_ms": head.compute_ms if head is not None else None,
            "total_ms": milliseconds_between(began, now),
        },
        "finished_at": now,
        "runner": head.runner if head is not None else None,
    }


def _described(tensor: Tensor) -> dict[str, Any]:
    """Describe a tensor without its values: what it was can be proved to whoever has them."""
    return {
        "datatype": tensor.kind.name,
        "shape": list(tensor.shape),
        "digest": sha256_bytes(tensor.data),
        "size": len(tensor.data),
    }


def _output(tensor: Tensor) -> dict[str, Any]:
    described = _described(tensor)
    small = tensor.kind.width and len(tensor.data) <= SHOWN_ELEMENTS * tensor.kind.width
    if small:
        described["data"] = to_json(tensor.kind, tensor.data)
    try:
        value = canonical_json(described)
    except ValueError:  # JSON has no infinity and no NaN
        del described["data"]
        value = canonical_json(described)
    return {"name": tensor.name, "type": "json", "value": value.decode()}
