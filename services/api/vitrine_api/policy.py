"""Who may do what to which resource: the only place that decides it.

A principal has one *relation* to a resource; the table says what each relation allows; a token's
scopes narrow it. What a stranger may not see does not exist for them (404, never 403).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vitrine_common.documents import (
    ApiToken,
    ClaimCheckRequest,
    Dataset,
    DatasetVersion,
    Invite,
    Model,
    Notification,
    Run,
    RunRequest,
    Scope,
    ShareLink,
    TrainRequest,
    Trial,
    Upload,
    User,
    Version,
    Webhook,
    WebhookDelivery,
)
from vitrine_common.errors import Denied, NotFound, Unauthenticated

ALL_SCOPES: tuple[Scope, ...] = ("read", "write", "run")


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody that is known."""


@dataclass(frozen=True, slots=True)
class Member:
    """An account, by a session (`session`, the cookie's secret) or by a token (`token_id`)."""

    user: User
    scopes: frozenset[Scope]
    token_id: str | None = None
    session: str | None = None

    @property
    def id(self) -> str:
        """The account's id."""
        return self.user.id


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever holds a link's token. `visitor_id` tells this visitor's runs from others'."""

    link: ShareLink
    visitor_id: str


Principal = Anonymous | Member | Visitor
Resource = (
    Model
    | Version
    | ShareLink
    | RunRequest
    | Run
    | ClaimCheckRequest
    | Dataset
    | DatasetVersion
    | TrainRequest
    | Trial
    | ApiToken
    | Invite
    | Upload
    | Notification
    | Webhook
    | WebhookDelivery
    | None
)
"""None is the platform itself: one's own lists, making things, and operating it."""


class Action(StrEnum):
    """What can be done."""

    SEE = "see"
    OPEN = "open"
    """Read inputs, outputs and logs."""
    RUN = "run"
    CHANGE = "change"
    """Make, alter, cancel, revoke."""
    OPERATE = "operate"


class Relation(StrEnum):
    """What a principal is to a resource."""

    STRANGER = "stranger"
    MEMBER = "member"
    OPERATOR = "operator"
    OWNER = "owner"
    PUBLISHER = "publisher"
    """Owns the version that a link's visitor ran."""
    HOLDER = "holder"
    """Holds a link to it."""
    VISITOR = "visitor"
    """Made this run by a link."""


_ALL = frozenset({Action.SEE, Action.OPEN, Action.RUN, Action.CHANGE})
TABLE: Mapping[Relation, frozenset[Action]] = {
    Relation.STRANGER: frozenset(),
    Relation.MEMBER: _ALL,
    Relation.OPERATOR: _ALL | {Action.OPERATE},
    Relation.OWNER: _ALL,
    # Authors learn that a visitor's run took place and how it ended, not what was asked and answered.
    Relation.PUBLISHER: frozenset({Action.SEE}),
    Relation.HOLDER: frozenset({Action.SEE, Action.RUN}),
    Relation.VISITOR: frozenset({Action.SEE, Action.OPEN, Action.CHANGE}),
}
_SCOPE: Mapping[Action, Scope] = {
    Action.SEE: "read",
    Action.OPEN: "read",
    Action.RUN: "run",
    Action.CHANGE: "write",
    Action.OPERATE: "write",
}


def relation(principal: Principal, resource: Resource) -> Relation:
    """Return what `principal` is to `resource`."""
    match principal:
        case Member():
            return _of_member(principal, resource)
        case Visitor():
            return _of_visitor(principal, resource)
    return Relation.STRANGER


def _of_member(member: Member, resource: Resource) -> Relation:
    match resource:
        case None:
            return Relation.OPERATOR if member.user.operator else Relation.MEMBER
        case Invite():
            return Relation.OPERATOR if member.user.operator else Relation.STRANGER
        case ApiToken() | Upload() | Notification() | Webhook() | WebhookDelivery():
            return Relation.OWNER if resource.user_id == member.id else Relation.STRANGER
    if resource.owner_id != member.id:
        return Relation.STRANGER
    if isinstance(resource, RunRequest | ClaimCheckRequest) and resource.blind:
        return Relation.STRANGER
    by_visitor = isinstance(resource, Run | RunRequest | ClaimCheckRequest) and resource.link_id is not None
    return Relation.PUBLISHER if by_visitor else Relation.OWNER


def _of_visitor(visitor: Visitor, resource: Resource) -> Relation:
    match resource:
        case ShareLink():
            return Relation.HOLDER if resource.id == visitor.link.id else Relation.STRANGER
        case Version():
            return Relation.HOLDER if resource.id == visitor.link.version_id else Relation.STRANGER
        case Run() | RunRequest() | ClaimCheckRequest():
            own = resource.link_id == visitor.link.id and resource.visitor_id == visitor.visitor_id
            return Relation.VISITOR if own else Relation.STRANGER
    return Relation.STRANGER


def allows(principal: Principal, action: Action, resource: Resource) -> bool:
    """Say whether `principal` may do `action` to `resource`."""
    if action not in TABLE[relation(principal, resource)]:
        return False
    return not isinstance(principal, Member) or _reaches(principal, action, resource)


def _reaches(member: Member, action: Action, resource: Resource) -> bool:
    """Say whether the scopes reach: `run` reads what it takes to run a model and get its answer."""
    if _SCOPE[action] in member.scopes:
        return True
    reads_a_run = action is Action.OPEN and isinstance(resource, Run | RunRequest | ClaimCheckRequest)
    finds_a_model = action is Action.SEE and isinstance(
        resource, Model | Version | Run | RunRequest | ClaimCheckRequest
    )
    return "run" in member.scopes and (reads_a_run or finds_a_model)


def require(principal: Principal, action: Action, resource: Resource) -> None:
    """Raise unless `principal` may do `action` to `resource`.

    Raises Unauthenticated for anonymous ones, NotFound where the resource is not theirs to know of,
    Denied where it is, but the token's scope or the relation does not reach.
    """
    if allows(principal, action, resource):
        return
    if isinstance(principal, Anonymous):
        raise Unauthenticated("log in first: send `Authorization: Bearer TOKEN`, or open /login")
    related = relation(principal, resource)
    if related is Relation.STRANGER:
        # Word for word what is said of an id that does not exist, so that nobody learns which ids do.
        raise NotFound(
            f"there is no {resource.noun()} {resource.id}" if resource else "there is nothing here"
        )
    if isinstance(principal, Member) and not _reaches(principal, action, resource):
        raise Denied(f"this token lacks the scope `{_SCOPE[action]}`; make one that has it")
    raise Denied("only an operator may do this" if action is Action.OPERATE else "this is not yours to do")


def member(principal: Principal) -> Member:
    """Return the account behind `principal`. Raises Unauthenticated."""
    if isinstance(principal, Member):
        return principal
    raise Unauthenticated("log in first: send `Authorization: Bearer TOKEN`, or open /login")
