"""Every database call of the api. What may be seen by whom is decided by `policy`, not here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from vitrine_common.clock import utcnow
from vitrine_common.documents import (
    ApiToken,
    AuditEntry,
    BlobGrant,
    Build,
    BuildProblem,
    Checkpoint,
    Document,
    Environment,
    Invite,
    LinkAttempts,
    LinkCode,
    LinkPass,
    Mail,
    MetricPoint,
    Model,
    ResourceSample,
    Run,
    RunRequest,
    ScoringRecord,
    Session,
    ShareLink,
    TrainRequest,
    Trial,
    Upload,
    User,
    Version,
)
from vitrine_common.errors import Conflict, Invalid
from vitrine_common.ids import new_id
from vitrine_common.messages import Message
from vitrine_common.states import MAIL, VERSION, MailState, VersionState
from vitrine_common.store import Collection, Database

D = TypeVar("D", bound=Document)
T = TypeVar("T")

MAX_PAGE = 200
_IDS_AT_ONCE = 500
_CURSOR = re.compile(r"([0-9]{1,15})\.([0-9]{1,9})")
Where = Mapping[str, Any]


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and where the next one begins."""

    items: list[T]
    next: str | None


async def page_of(
    collection: Collection[D], where: Where, limit: int, after: str | None, *, newest_first: bool = True
) -> Page[D]:
    """Return up to `limit` documents by time of creation.

    `after` is a page's `next`: the last time seen and how many documents of that very time were seen, so
    that an index on the time alone serves it. Raises Invalid for what is no cursor.
    """
    limit = max(1, min(limit, MAX_PAGE))
    bounded, skip = dict(where), 0
    if after is not None:
        at, skip = _read_cursor(after)
        bounded["created_at"] = {"$lte" if newest_first else "$gte": at}
    order = (("created_at", -1 if newest_first else 1),)
    found = await collection.find(bounded, order, limit + 1, skip)
    items = found[:limit]
    if len(found) <= limit:
        return Page(items, None)
    last = _milliseconds(items[-1].created_at)
    seen = sum(_milliseconds(item.created_at) == last for item in items)
    if after is not None and last == at:
        seen += skip
    return Page(items, f"{last}.{seen}")


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _read_cursor(text: str) -> tuple[int, int]:
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise Invalid("after: is no cursor; take `next` of the page before")
    return int(match[1]), int(match[2])


async def _by_ids(collection: Collection[D], ids: Iterable[str]) -> dict[str, D]:
    wanted = list(dict.fromkeys(ids))
    found: dict[str, D] = {}
    for start in range(0, len(wanted), _IDS_AT_ONCE):
        batch = wanted[start : start + _IDS_AT_ONCE]
        documents = await collection.find({"_id": {"$in": batch}}, (("_id", 1),), len(batch))
        found |= {document.id: document for document in documents}
    return found


class Accounts:
    """Users, sessions, tokens, invites and the audit log."""

    def __init__(self, database: Database) -> None:
        self.users = database.collection(User)
        self.sessions = database.collection(Session)
        self.tokens = database.collection(ApiToken)
        self.invites = database.collection(Invite)
        self.audit = database.collection(AuditEntry)

    async def user_by_login(self, login: str) -> User | None:
        """Return the user of an e-mail address or name."""
        field = "email" if "@" in login else "name"
        return await self.users.find_one({field: login.strip().lower()})

    async def user(self, user_id: str) -> User | None:
        """Return the user, or None."""
        return await self.users.find_one({"_id": user_id})

    async def any_user(self) -> User | None:
        """Return some user, or None when there are none yet."""
        return await self.users.find_one({})

    async def session(self, session_id: str) -> Session | None:
        """Return a session that has not expired."""
        return await self.sessions.find_one({"_id": session_id, "expires_at": {"$gt": utcnow()}})

    async def token_by_hash(self, token_hash: str) -> ApiToken | None:
        """Return a token that has not expired."""
        token = await self.tokens.find_one({"token_hash": token_hash})
        expired = token is not None and token.expires_at is not None and token.expires_at <= utcnow()
        return None if expired else token

    async def token_used(self, token: ApiToken) -> None:
        """Note that a token was used now."""
        await self.tokens.update({"_id": token.id}, {"last_used_at": utcnow()})

    async def open_invite(self, code_hash: str) -> Invite | None:
        """Return an invite that is neither used nor expired."""
        invite = await self.invites.find_one({"code_hash": code_hash, "expires_at": {"$gt": utcnow()}})
        return invite if invite is not None and invite.used_by is None else None

    async def use_invite(self, invite: Invite, user_id: str) -> bool:
        """Use an invite up; False when someone was quicker."""
        changed = await self.invites.update({"_id": invite.id, "used_by": None}, {"used_by": user_id})
        return changed is not None

    async def release_invite(self, invite: Invite, user_id: str) -> None:
        """Give an invite back that `user_id` could not use."""
        await self.invites.update({"_id": invite.id, "used_by": user_id}, {"used_by": None})

    async def sweep(self) -> None:
        """Delete sessions that have expired."""
        await self.sessions.delete({"expires_at": {"$lt": utcnow()}})


class Bundles:
    """Uploads, grants, models and versions; builds and environments to read."""

    def __init__(self, database: Database) -> None:
        self.uploads = database.collection(Upload)
        self.models = database.collection(Model)
        self.versions = database.collection(Version)
        self._grants = database.collection(BlobGrant)
        self._builds = database.collection(Build)
        self._environments = database.collection(Environment)

    async def grants(self, user_id: str, digests: Iterable[str]) -> dict[str, int]:
        """Return the sizes of those digests that count as present for the user."""
        found = await _by_ids(self._grants, (f"{user_id}:{digest}" for digest in digests))
        return {grant.digest: grant.size for grant in found.values()}

    async def grant(self, user_id: str, digest: str, size: int) -> None:
        """Let a digest count as present for the user; doing so twice is doing so once."""
        grant_id = f"{user_id}:{digest}"
        if await self._grants.find_one({"_id": grant_id}) is not None:
            return
        try:
            await self._grants.insert(BlobGrant(id=grant_id, user_id=user_id, digest=digest, size=size))
        except Conflict:
            return  # a request at the same time granted it

    async def model(self, owner: str, name: str) -> Model | None:
        """Return the model, or None."""
        return await self.models.find_one({"owner": owner, "name": name})

    async def model_for(self, user: User, name: str, description: str) -> Model:
        """Return the user's model of that name, made if there is none."""
        where = {"owner_id": user.id, "name": name}
        found = await self.models.find_one(where)
        if found is not None:
            return found
        model = Model(
            id=new_id("model"), owner_id=user.id, owner=user.name, name=name, description=description
        )
        try:
            return await self.models.insert(model)
        except Conflict:
            found = await self.models.find_one(where)
            if found is None:
                raise
            return found

    async def next_number(self, model: Model, description: str) -> int:
        """Return the number of the model's next version; no number is given twice."""
        changed = await self.models.require(
            {"_id": model.id}, {"description": description}, increments={"last_number": 1}
        )
        return changed.last_number

    async def version(self, **where: Any) -> Version | None:
        """Return a version by its fields, or None."""
        return await self.versions.find_one(where)

    async def version_by_digest_prefix(self, model_id: str, prefix: str) -> list[Version]:
        """Return up to two versions whose digest begins so."""
        end = prefix + "g"  # sorts behind every hexadecimal digit
        where = {"model_id": model_id, "digest": {"$gte": f"sha256:{prefix}", "$lt": f"sha256:{end}"}}
        return await self.versions.find(where, (("digest", 1),), 2)

    async def latest(self, model_id: str) -> Version | None:
        """Return the newest version that is ready, else the newest."""
        order = (("number", -1),)
        ready = await self.versions.find_one({"model_id": model_id, "state": VersionState.READY}, order)
        return ready or await self.versions.find_one({"model_id": model_id}, order)

    async def waiting_for(self, build_id: str) -> list[Version]:
        """Return the versions that a build's end concerns."""
        return await self.versions.find({"build_id": build_id, "state": VersionState.BUILDING})

    async def advance(
        self, version: Version, target: VersionState, changes: Where, messages: Sequence[Message]
    ) -> Version | None:
        """Move a version on; None when it has moved on already (compare-and-set on state and build)."""
        where = {"_id": version.id, "build_id": version.build_id, "state": {"$in": VERSION.sources(target)}}
        written = {**changes, "state": target, "updated_at": utcnow()}
        return await self.versions.update(where, written, messages=messages)

    async def versions_by_ids(self, ids: Iterable[str]) -> dict[str, Version]:
        """Return versions by id."""
        return await _by_ids(self.versions, ids)

    async def build(self, build_id: str) -> Build | None:
        """Return the build, or None."""
        return await self._builds.find_one({"_id": build_id})

    async def build_problem(self, build_id: str) -> BuildProblem | None:
        """Return why a build failed, where the builder has written it down."""
        build = await self.build(build_id)
        return None if build is None else build.problem

    async def environment(self, digest: str) -> Environment | None:
        """Return the environment, or None."""
        return await self._environments.find_one({"_id": digest})

    async def expired_uploads(self) -> list[Upload]:
        """Return uploads that nobody completed in time."""
        return await self.uploads.find({"expires_at": {"$lt": utcnow()}}, (("expires_at", 1),))


class Links:
    """Share links and their quotas."""

    def __init__(self, database: Database) -> None:
        self.links = database.collection(ShareLink)
        self.passes = database.collection(LinkPass)
        self.codes = database.collection(LinkCode)
        self.attempts = database.collection(LinkAttempts)

    async def by_token_hash(self, token_hash: str) -> ShareLink | None:
        """Return the link, or None."""
        return await self.links.find_one({"token_hash": token_hash})

    async def public(self, limit: int) -> list[ShareLink]:
        """Return the newest public links, whether they still work or not."""
        return await self.links.find({"access": "public"}, limit=limit)

    async def by_ids(self, ids: Iterable[str]) -> dict[str, ShareLink]:
        """Return links by id."""
        return await _by_ids(self.links, ids)

    async def of_group(self, group_id: str) -> list[ShareLink]:
        """Return the links that were made together."""
        return await self.links.find({"group_id": group_id}, limit=MAX_PAGE)

    async def of_version(self, version_id: str) -> list[ShareLink]:
        """Return the links of a version, newest first."""
        return await self.links.find({"version_id": version_id}, limit=1000)

    async def count_run(self, link: ShareLink, changes: Where, by: int) -> ShareLink | None:
        """Count `by` runs and write `changes`, if the quota allows; None, and nothing is done, if not.

        The rate's times are compared and set: of two that read the same ones, one writes.
        """
        where: dict[str, Any] = {"_id": link.id}
        if by > 0 and link.max_runs is not None:
            where["runs_used"] = {"$lt": link.max_runs}
        increments = {"runs_used": by}
        if "rate_times" in changes:
            where["rate_revision"] = link.rate_revision
            increments["rate_revision"] = 1
        return await self.links.update(where, {**changes, "last_run_at": utcnow()}, increments=increments)

    async def count_opened(self, link: ShareLink) -> None:
        """Count one more visitor."""
        await self.links.update({"_id": link.id}, {"owner_id": link.owner_id}, increments={"opened": 1})

    async def take_code_attempt(self, code_id: str) -> LinkCode | None:
        """Use up one attempt at a code; None where there is no code, or none is left."""
        where = {"_id": code_id, "attempts_left": {"$gt": 0}}
        known = await self.codes.find_one(where)
        if known is None:
            return None
        return await self.codes.update(where, {"salt": known.salt}, increments={"attempts_left": -1})

    async def sweep(self) -> None:
        """Delete passes and codes that have expired, and counts of attempts that nobody made lately."""
        now = utcnow()
        await self.passes.delete({"expires_at": {"$lt": now}})
        await self.codes.delete({"expires_at": {"$lt": now}})
        await self.attempts.delete({"last_at": {"$lt": now - timedelta(days=2)}})


class Mails:
    """E-mail on its way, and what became of it."""

    def __init__(self, database: Database) -> None:
        self.mails = database.collection(Mail)

    async def due(self) -> list[Mail]:
        """Return some mails that may be sent now, the longest waiting first."""
        where = {"state": MailState.WAITING, "due_at": {"$lte": utcnow()}}
        return await self.mails.find(where, (("due_at", 1),), 50)

    async def next_due_at(self) -> datetime | None:
        """Return when the next waiting mail may be sent; None when none waits."""
        found = await self.mails.find({"state": MailState.WAITING}, (("due_at", 1),), 1)
        return found[0].due_at if found else None

    async def delete_ended(self, before: datetime) -> None:
        """Delete mails that ended and were made before then."""
        await self.mails.delete({"state": {"$in": MAIL.final}, "created_at": {"$lt": before}})


class Runs:
    """Run requests, and what the runner made of them."""

    def __init__(self, database: Database) -> None:
        self.requests = database.collection(RunRequest)
        self._runs = database.collection(Run)

    async def run(self, run_id: str) -> Run | None:
        """Return what became of a request; None while no runner has taken note of it."""
        return await self._runs.find_one({"_id": run_id})

    async def runs(self, ids: Iterable[str]) -> dict[str, Run]:
        """Return runs by id."""
        return await _by_ids(self._runs, ids)

    async def recent_of_link(self, link_id: str) -> list[RunRequest]:
        """Return the link's requests that may still wait or work, newest first."""
        return await self.requests.find({"link_id": link_id}, limit=1000)


class Trials:
    """Training requests, and what the trainer made of them."""

    def __init__(self, database: Database) -> None:
        self.requests = database.collection(TrainRequest)
        self._trials = database.collection(Trial)
        self.metrics = database.collection(MetricPoint)
        self.samples = database.collection(ResourceSample)
        self._checkpoints = database.collection(Checkpoint)

    async def trial(self, trial_id: str) -> Trial | None:
        """Return what became of a request; None while no trainer has taken note of it."""
        return await self._trials.find_one({"_id": trial_id})

    async def trials(self, ids: Iterable[str]) -> dict[str, Trial]:
        """Return trials by id."""
        return await _by_ids(self._trials, ids)

    async def checkpoints(self, trial_id: str) -> list[Checkpoint]:
        """Return the trial's checkpoints, oldest first."""
        return await self._checkpoints.find({"trial_id": trial_id}, (("created_at", 1),), 1000)


class Scores:
    """Scoring records, written by the monitor."""

    def __init__(self, database: Database) -> None:
        self.records = database.collection(ScoringRecord)

    async def of_links(self, link_ids: Sequence[str], limit: int) -> list[ScoringRecord]:
        """Return records of runs by any of the links, the oldest first."""
        return await self.records.find({"link_id": {"$in": list(link_ids)}}, (("finished_at", 1),), limit)

    async def window(self, version_id: str, limit: int) -> list[ScoringRecord]:
        """Return the newest records of a version."""
        return await self.records.find({"version_id": version_id}, (("finished_at", -1),), limit)


class Repository:
    """All of them over one database."""

    def __init__(self, database: Database) -> None:
        self.accounts = Accounts(database)
        self.bundles = Bundles(database)
        self.links = Links(database)
        self.mails = Mails(database)
        self.runs = Runs(database)
        self.trials = Trials(database)
        self.scores = Scores(database)
