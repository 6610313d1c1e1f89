"""Who may do what to which resource: the only place that decides it.

A principal has one *relation* to a resource; the table says what each relation allows; a token's
scopes narrow it. What a stranger may not see does not exist for them (404, never 403).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vitrine_common.documents import (
    ApiToken,
    ClaimCheckRequest,
    Dataset,
    DatasetVersion,
    Deletion,
    Invite,
    Model,
    Notification,
    Run,
    RunHook,
    RunRequest,
    Scope,
    ShareLink,
    TrainRequest,
    Trial,
    Upload,
    User,
    Venue,
    VenueReview,
    VenueReviewer,
    VenueSubmission,
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
    collaborates: frozenset[str] = frozenset()
    """Ids of the models of others that the account works on."""
    ends_at: datetime | None = None
    """When the token ends by the clock."""

    @property
    def id(self) -> str:
        """The account's id."""
        return self.user.id


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever holds a link's token. `visitor_id` tells this visitor's runs from others'."""

    link: ShareLink
    visitor_id: str
    shown_run: str = ""
    """A run of somebody else's whose address was handed on to this visitor."""


@dataclass(frozen=True, slots=True)
class Referee:
    """Whoever holds the address of a reviewer's page."""

    reviewer: VenueReviewer


Principal = Anonymous | Member | Visitor | Referee
_Owned = (
    Model
    | Version
    | ShareLink
    | RunRequest
    | Run
    | ClaimCheckRequest
    | Dataset
    | DatasetVersion
    | Deletion
    | TrainRequest
    | Trial
    | ApiToken
    | Invite
    | Upload
    | Notification
    | Webhook
    | RunHook
    | WebhookDelivery
    | None
)
_VenueThing = Venue | VenueSubmission | VenueReviewer | VenueReview
Resource = _Owned | _VenueThing
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
    PUSH = "push"
    """Add a version to a model."""
    APPROVE = "approve"
    CHAIR = "chair"
    """Make venues."""


class Relation(StrEnum):
    """What a principal is to a resource."""

    STRANGER = "stranger"
    MEMBER = "member"
    OPERATOR = "operator"
    VALIDATOR = "validator"
    CHAIR = "chair"
    OWNER = "owner"
    COLLABORATOR = "collaborator"
    """Works on a model that somebody else owns."""
    REQUESTER = "requester"
    """Ran a model that somebody else owns, as its collaborator."""
    PUBLISHER = "publisher"
    """Owns the version that a link's visitor ran."""
    HOST = "host"
    """Chairs the venue in which a review is written."""
    AUTHOR = "author"
    """Submitted it to somebody else's venue."""
    HOLDER = "holder"
    """Holds a link to it."""
    VISITOR = "visitor"
    """Made this run by a link."""
    SHOWN = "shown"
    """Was handed the address of a run by whoever made it."""


_ALL = frozenset({Action.SEE, Action.OPEN, Action.RUN, Action.CHANGE})
TABLE: Mapping[Relation, frozenset[Action]] = {
    Relation.STRANGER: frozenset(),
    Relation.MEMBER: _ALL,
    Relation.OPERATOR: _ALL | {Action.OPERATE, Action.APPROVE, Action.CHAIR},
    Relation.VALIDATOR: _ALL | {Action.APPROVE},
    Relation.CHAIR: _ALL | {Action.CHAIR},
    Relation.OWNER: _ALL | {Action.PUSH},
    # Collaborators see the model and its versions, run them and push new ones. They share nothing, alter
    # nothing, delete nothing, and see nothing of others' runs.
    Relation.COLLABORATOR: frozenset({Action.SEE, Action.OPEN, Action.RUN, Action.PUSH}),
    Relation.REQUESTER: frozenset({Action.SEE, Action.OPEN, Action.CHANGE}),
    # Authors learn that a visitor's run took place and how it ended, not what was asked and answered.
    Relation.PUBLISHER: frozenset({Action.SEE}),
    # Chairs read verdicts and comments, neither write them nor read a reviewer's own notes (`OPEN`).
    Relation.HOST: frozenset({Action.SEE}),
    Relation.AUTHOR: frozenset({Action.SEE, Action.CHANGE}),
    Relation.HOLDER: frozenset({Action.SEE, Action.RUN}),
    Relation.VISITOR: frozenset({Action.SEE, Action.OPEN, Action.CHANGE}),
    Relation.SHOWN: frozenset({Action.SEE, Action.OPEN}),
}
_SCOPE: Mapping[Action, Scope] = {
    Action.SEE: "read",
    Action.OPEN: "read",
    Action.RUN: "run",
    Action.CHANGE: "write",
    Action.OPERATE: "write",
    Action.PUSH: "write",
    Action.APPROVE: "write",
    Action.CHAIR: "write",
}


def relation(principal: Principal, resource: Resource) -> Relation:
    """Return what `principal` is to `resource`."""
    match principal:
        case Member():
            return _of_member(principal, resource)
        case Visitor():
            return _of_visitor(principal, resource)
        case Referee():
            return _of_referee(principal.reviewer, resource)
    return Relation.STRANGER


def _of_member(member: Member, resource: Resource) -> Relation:
    if isinstance(resource, _VenueThing):
        return _of_chair(member, resource)
    return _of_owner(member, resource)


def _of_owner(member: Member, resource: _Owned) -> Relation:
    match resource:
        case None:
            return Relation.OPERATOR if member.user.operator else Relation.MEMBER
        case Invite():
            return _of_inviter(member, resource)
        case ApiToken() | Upload() | Notification() | Webhook() | RunHook() | WebhookDelivery():
            return Relation.OWNER if resource.user_id == member.id else Relation.STRANGER
    if resource.owner_id != member.id:
        return _of_helper(member, resource)
    if isinstance(resource, RunRequest | ClaimCheckRequest) and resource.blind:
        return Relation.STRANGER
    by_visitor = isinstance(resource, Run | RunRequest | ClaimCheckRequest) and resource.link_id is not None
    return Relation.PUBLISHER if by_visitor else Relation.OWNER


def _of_inviter(member: Member, invite: Invite) -> Relation:
    if member.user.operator:
        return Relation.OPERATOR
    return Relation.OWNER if invite.invited_by == member.id else Relation.STRANGER


def _of_helper(member: Member, resource: Resource) -> Relation:
    """Return what a member is to a thing of somebody else."""
    match resource:
        case Model():
            return Relation.COLLABORATOR if resource.id in member.collaborates else Relation.STRANGER
        case Version():
            return Relation.COLLABORATOR if resource.model_id in member.collaborates else Relation.STRANGER
        case RunRequest() | ClaimCheckRequest():
            return Relation.REQUESTER if resource.user_id == member.id else Relation.STRANGER
    return Relation.STRANGER


def _of_chair(member: Member, resource: _VenueThing) -> Relation:
    if resource.chair_id == member.id:
        return Relation.HOST if isinstance(resource, VenueReview) else Relation.OWNER
    wrote = isinstance(resource, VenueSubmission) and resource.author_id == member.id
    return Relation.AUTHOR if wrote else Relation.STRANGER


def _of_referee(reviewer: VenueReviewer, resource: Resource) -> Relation:
    match resource:
        case Venue():
            return Relation.HOLDER if resource.id == reviewer.venue_id else Relation.STRANGER
        case VenueReviewer():
            return Relation.HOLDER if resource.id == reviewer.id else Relation.STRANGER
        case VenueReview():
            return Relation.VISITOR if resource.reviewer_id == reviewer.id else Relation.STRANGER
    return Relation.STRANGER


def _of_visitor(visitor: Visitor, resource: Resource) -> Relation:
    match resource:
        case ShareLink():
            return Relation.HOLDER if resource.id == visitor.link.id else Relation.STRANGER
        case Version():
            return Relation.HOLDER if resource.id == visitor.link.version_id else Relation.STRANGER
        case Run() | RunRequest() | ClaimCheckRequest():
            if resource.link_id != visitor.link.id:
                return Relation.STRANGER
            if resource.visitor_id == visitor.visitor_id:
                return Relation.VISITOR
            is_shown = visitor.shown_run == resource.id and not isinstance(resource, ClaimCheckRequest)
            return Relation.SHOWN if is_shown else Relation.STRANGER
    return Relation.STRANGER


def allows(principal: Principal, action: Action, resource: Resource) -> bool:
    """Say whether `principal` may do `action` to `resource`."""
    related = {relation(principal, resource)}
    if resource is None and isinstance(principal, Member):
        related |= {Relation(role) for role in principal.user.roles}
    if not any(action in TABLE[one] for one in related):
        return False
    return not isinstance(principal, Member) or _reaches(principal, action, resource)


def _reaches(member: Member, action: Action, resource: Resource) -> bool:
    """Say whether the scopes reach: `run` reads what it takes to run a model and get its answer."""
    if _SCOPE[action] in member.scopes:
        return True
    reads_a_run = action is Action.OPEN and isinstance(resource, Run | RunRequest | ClaimCheckRequest)
    finds_a_model = action is Action.SEE and isinstance(
        resource, Model | Version | Run | RunRequest | RunHook | ClaimCheckRequest
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
