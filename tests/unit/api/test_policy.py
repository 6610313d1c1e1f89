"""Who is what to which resource."""

from __future__ import annotations

import pytest

from vitrine_api.policy import (
    ALL_SCOPES,
    Action,
    Anonymous,
    Member,
    Relation,
    Visitor,
    allows,
    relation,
    require,
)
from vitrine_common.clock import utcnow
from vitrine_common.documents import Invite, Model, Role, RunRequest, ShareLink, User, Version
from vitrine_common.errors import Denied, NotFound, Unauthenticated


def user(name: str, *, operator: bool = False, roles: tuple[Role, ...] = ()) -> User:
    return User(
        id=f"user_{name}",
        email=f"{name}@example.org",
        name=name,
        password_hash="",
        operator=operator,
        roles=list(roles),
    )


def version(owner: str = "ada") -> Version:
    return Version(
        id="version_1",
        model_id="model_1",
        owner_id=f"user_{owner}",
        owner=owner,
        model="m",
        number=1,
        digest="sha256:" + "0" * 64,
        spec={},
        file_count=0,
        total_bytes=0,
    )


def link(link_id: str = "link_1", version_id: str = "version_1") -> ShareLink:
    return ShareLink(
        id=link_id,
        token_hash="",
        token_hint="",
        owner_id="user_ada",
        version_id=version_id,
        version_digest="",
    )


def run(link_id: str | None = None, visitor_id: str | None = None) -> RunRequest:
    return RunRequest(
        id="run_1",
        version_id="version_1",
        version_digest="",
        environment_digest="",
        owner_id="user_ada",
        link_id=link_id,
        visitor_id=visitor_id,
        inputs="{}",
        expires_at=utcnow(),
    )


ADA = Member(user("ada"), frozenset(ALL_SCOPES))
BOB = Member(user("bob", operator=True), frozenset(ALL_SCOPES))
EVA = Member(user("eva"), frozenset(ALL_SCOPES), collaborates=frozenset({"model_1"}))
VALIDATOR = Member(user("val", roles=("validator",)), frozenset(ALL_SCOPES))
CHAIR = Member(user("cleo", roles=("chair",)), frozenset(ALL_SCOPES))
MODEL = Model(id="model_1", owner_id="user_ada", owner="ada", name="m")
VISITOR = Visitor(link(), "me")
INVITE = Invite(id="invite_1", code_hash="", invited_by="user_bob", expires_at=utcnow())


@pytest.mark.parametrize(
    ("principal", "resource", "expected"),
    [
        (ADA, version(), Relation.OWNER),
        (BOB, version(), Relation.STRANGER),
        (Anonymous(), version(), Relation.STRANGER),
        (VISITOR, version(), Relation.HOLDER),
        (Visitor(link(version_id="version_2"), "me"), version(), Relation.STRANGER),
        (VISITOR, link(), Relation.HOLDER),
        (VISITOR, link("link_2"), Relation.STRANGER),
        (ADA, run(), Relation.OWNER),
        (ADA, run("link_1", "me"), Relation.PUBLISHER),
        (VISITOR, run("link_1", "me"), Relation.VISITOR),
        (VISITOR, run("link_1", "somebody"), Relation.STRANGER),
        (VISITOR, run("link_2", "me"), Relation.STRANGER),
        (VISITOR, run(), Relation.STRANGER),
        (BOB, None, Relation.OPERATOR),
        (ADA, None, Relation.MEMBER),
        (BOB, INVITE, Relation.OPERATOR),
        (ADA, INVITE, Relation.STRANGER),
        (EVA, MODEL, Relation.COLLABORATOR),
        (EVA, version(), Relation.COLLABORATOR),
        (EVA, link(), Relation.STRANGER),
        (EVA, run(), Relation.STRANGER),
        (EVA, run().model_copy(update={"user_id": "user_eva"}), Relation.REQUESTER),
        (VALIDATOR, version(), Relation.STRANGER),
        (VALIDATOR, None, Relation.MEMBER),
        (CHAIR, version(), Relation.STRANGER),
        (CHAIR, None, Relation.MEMBER),
    ],
)
def test_relations(principal: object, resource: object, expected: Relation) -> None:
    assert relation(principal, resource) is expected  # type: ignore[arg-type]


def test_holders_run_but_change_nothing_and_read_no_bundle() -> None:
    assert allows(VISITOR, Action.RUN, version())
    assert not allows(VISITOR, Action.CHANGE, version())
    assert not allows(VISITOR, Action.OPEN, version())


def test_every_scope_opens_only_its_actions() -> None:
    reader = Member(user("ada"), frozenset({"read"}))
    assert [action for action in Action if allows(reader, action, version())] == [Action.SEE, Action.OPEN]
    with pytest.raises(Denied, match="lacks the scope `run`"):
        require(reader, Action.RUN, version())


def test_a_token_that_runs_reads_what_it_takes_to_run() -> None:
    program = Member(user("ada"), frozenset({"run"}))
    assert [action for action in Action if allows(program, action, version())] == [Action.SEE, Action.RUN]
    own_run = run()
    assert allows(program, Action.OPEN, own_run)
    assert not allows(program, Action.CHANGE, own_run)
    with pytest.raises(Denied, match="lacks the scope `read`"):
        require(program, Action.SEE, None)


def test_what_is_raised_tells_strangers_nothing() -> None:
    with pytest.raises(NotFound, match=r"^there is no version version_1$"):
        require(BOB, Action.SEE, version())
    with pytest.raises(Unauthenticated):
        require(Anonymous(), Action.SEE, version())
    with pytest.raises(Denied, match="operator"):
        require(ADA, Action.OPERATE, None)


def test_a_run_whose_address_was_handed_on_can_be_seen_and_not_changed() -> None:
    mine = run(link_id="link_1", visitor_id="me")
    other = Visitor(link(), "somebody", shown_run=mine.id)
    assert relation(other, mine) is Relation.SHOWN
    assert allows(other, Action.OPEN, mine)
    assert not allows(other, Action.CHANGE, mine)
    assert relation(Visitor(link(), "somebody"), mine) is Relation.STRANGER
    assert relation(Visitor(link("link_2"), "somebody", shown_run=mine.id), mine) is Relation.STRANGER


def test_collaborators_see_run_and_push_and_share_nothing() -> None:
    may = [Action.SEE, Action.OPEN, Action.RUN, Action.PUSH]
    for resource in (MODEL, version()):
        assert [action for action in Action if allows(EVA, action, resource)] == may
    assert not [action for action in Action if allows(EVA, action, link())]
    other = MODEL.model_copy(update={"id": "model_2"})
    assert not [action for action in Action if allows(EVA, action, other)]


@pytest.mark.parametrize(
    ("member", "more"),
    [
        (ADA, set()),
        (EVA, set()),
        (VALIDATOR, {Action.APPROVE}),
        (CHAIR, {Action.CHAIR}),
        (BOB, {Action.OPERATE, Action.APPROVE, Action.CHAIR}),
    ],
)
def test_a_role_opens_its_own_action_on_the_platform_and_nothing_of_others(
    member: Member, more: set[Action]
) -> None:
    everybody = {Action.SEE, Action.OPEN, Action.RUN, Action.CHANGE}
    assert {action for action in Action if allows(member, action, None)} == everybody | more
    foreign = MODEL.model_copy(update={"id": "model_9", "owner_id": "user_zoe"})
    assert not [action for action in Action if allows(member, action, foreign)]
