"""A call's line in the journal is the JSON of its request: every field, whoever called, however it ended."""

from __future__ import annotations

import struct
from datetime import timedelta

import pytest

from vitrine_api.inference.admission import Admitted
from vitrine_api.inference.datatypes import DATATYPES
from vitrine_api.inference.lines import INPUT, Ended, line_of
from vitrine_api.inference.protocol import InferRequest, Tensor
from vitrine_api.policy import Member, Principal, Visitor
from vitrine_common.clock import utcnow
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import CallOutcome, Output, RunRequest, ShareLink, Timings, User, Version
from vitrine_common.messages import ModelAnswer
from vitrine_common.spec import Spec
from vitrine_common.states import Reason, RunState

SPEC = {"name": "net", "onnx": "model.onnx"}
VERSION = Version(
    id="version_1",
    model_id="model_1",
    owner_id="user_ada",
    owner="ada",
    model="net",
    number=1,
    digest="sha256:" + "1" * 64,
    environment_digest="sha256:" + "2" * 64,
    spec=SPEC,
    file_count=1,
    total_bytes=1,
)
MEMBER = Member(User(id="user_ada", name="ada", email="a@example.org", password_hash="x"), frozenset({"run"}))
LINK = ShareLink(
    id="link_1",
    owner_id="user_ada",
    version_id="version_1",
    version_digest=VERSION.digest,
    token_hash="",
    token_hint="",
    blind=True,
)
GIVEN = Tensor('ä "x"', DATATYPES["INT64"], (1, 2), struct.pack("<2q", 1, -2))
GOT = Tensor("sum", DATATYPES["FP32"], (1, 3), struct.pack("<3f", 0.5, 1e-7, 1e20))
ANSWER = ModelAnswer(state="answered", waited_ms=1.5, compute_ms=2.25, runner="runner@host:1")


def admitted(principal: Principal) -> Admitted:
    return Admitted(principal, VERSION, Spec.model_validate(SPEC), "key")


def described(tensor: Tensor, **more: object) -> str:
    facts = {"shape": list(tensor.shape), "digest": sha256_bytes(tensor.data), "size": len(tensor.data)}
    return canonical_json({"datatype": tensor.kind.name, **facts, **more}).decode()


@pytest.mark.parametrize("principal", [MEMBER, Visitor(LINK, "visitor_1")])
def test_an_answered_call(principal: Principal) -> None:
    began = utcnow() - timedelta(seconds=1)
    request = InferRequest(inputs=[GIVEN])
    line = line_of("run_1", admitted(principal), request, began, Ended(ANSWER, [GOT]))
    read = RunRequest.model_validate_json(line)
    assert read.call is not None
    by_link = isinstance(principal, Visitor)
    values = struct.unpack("<3f", GOT.data)
    assert read == RunRequest(
        id="run_1",
        created_at=began,
        version_id="version_1",
        version_digest=VERSION.digest,
        environment_digest="sha256:" + "2" * 64,
        owner_id="user_ada",
        user_id=None if by_link else "user_ada",
        link_id="link_1" if by_link else None,
        visitor_id="visitor_1" if by_link else None,
        blind=by_link,
        inputs=f"{{{canonical_json(INPUT.format(GIVEN.name)).decode()}:{described(GIVEN)}}}",
        expires_at=read.call.finished_at,
        call=CallOutcome(
            state=RunState.SUCCEEDED,
            outputs=[Output(name="sum", type="json", value=described(GOT, data=list(values)))],
            cold=False,
            timings=Timings(queued_ms=1.5, compute_ms=2.25, total_ms=read.call.timings.total_ms),
            finished_at=read.call.finished_at,
            runner="runner@host:1",
        ),
    )
    assert read.call.timings.total_ms is not None
    assert 1000 <= read.call.timings.total_ms < 60_000


def test_a_cold_call_waited_for_a_start() -> None:
    cold = ANSWER.model_copy(update={"cold": True})
    line = line_of("run_1", admitted(MEMBER), InferRequest(), utcnow(), Ended(cold))
    call = RunRequest.model_validate_json(line).call
    assert call is not None
    assert (call.cold, call.timings.start_ms, call.timings.queued_ms) == (True, 1.5, None)


def test_a_failed_call_keeps_its_reason_and_an_end_that_is_not_endless() -> None:
    ended = Ended(None, (), Reason.PLATFORM_ERROR, "no " * 1000)
    line = line_of("run_1", admitted(MEMBER), InferRequest(inputs=[GIVEN]), utcnow(), ended)
    call = RunRequest.model_validate_json(line).call
    assert call is not None
    assert (call.state, call.reason) == (RunState.FAILED, Reason.PLATFORM_ERROR)
    assert call.message == ("no " * 1000)[:2000]
    assert b"\n" not in line


def test_values_that_json_has_not_are_left_out() -> None:
    endless = Tensor("sum", DATATYPES["FP32"], (1,), struct.pack("<f", float("inf")))
    line = line_of("run_1", admitted(MEMBER), InferRequest(), utcnow(), Ended(ANSWER, [endless]))
    call = RunRequest.model_validate_json(line).call
    assert call is not None
    assert call.outputs[0].value == described(endless)
