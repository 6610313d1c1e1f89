"""Documents in MongoDB: typed collections, compare-and-set transitions, leases, outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReturnDocument, errors

from vitrine_common.documents.base import Document, Index, to_bson
from vitrine_common.errors import Conflict, Invalid, NotFound, StaleState, Unavailable
from vitrine_common.messages import Envelope, Message, seal
from vitrine_common.outbox import Outbox, Publisher, outbox_fields
from vitrine_common.settings import MongoSettings

D = TypeVar("D", bound=Document)

_DUPLICATE = 11000
_TRANSLATION: tuple[tuple[type[errors.PyMongoError], type[Exception], str], ...] = (
    (errors.DuplicateKeyError, Conflict, "something of that name exists already"),
    (errors.ConnectionFailure, Unavailable, "the database does not answer; try again in a moment"),
    (errors.ExecutionTimeout, Unavailable, "the database took too long; try again in a moment"),
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except errors.PyMongoError as error:
        for raised, becomes, message in _TRANSLATION:
            if isinstance(error, raised):
                raise becomes(message) from error
        raise
    except BSONError as error:
        raise Invalid(f"this cannot be stored: {error}") from error


def _filter(where: Mapping[str, Any]) -> dict[str, Any]:
    """Return `where` as it is sent: equality in words.

    To MongoDB both spellings are the same. The embedded server takes `{field: value}` to mean elements of
    arrays as well, which reads the whole collection; `$eq` is served by an index. No document is looked for
    by an array's element.
    """
    return {
        name: {"$eq": value} if isinstance(value, str | int | float) and name[0] != "$" else value
        for name, value in to_bson(where).items()
    }


class Collection(Generic[D]):
    """A collection of one document type, as one service sees it.

    Reads are for every service; writes only for the document's `WRITER`.
    """

    def __init__(self, raw: Any, document: type[D], outbox: Outbox, service: str) -> None:
        self._raw = raw
        self._document = document
        self._service = service
        self.outbox = outbox

    def _check_writer(self) -> None:
        if self._service != self._document.WRITER:
            raise PermissionError(
                f"{self._service} may not write {self._document.COLLECTION}: "
                f"send {self._document.WRITER} a command instead"
            )

    def _sealed(self, messages: Sequence[Message]) -> list[Envelope[Message]]:
        if messages and not self._document.TELLS:
            raise TypeError(
                f"{self._document.__name__} has no outbox: set its TELLS to write messages with it"
            )
        return [seal(message) for message in messages]

    async def get(self, document_id: str) -> D:
        """Return the document; raises NotFound."""
        found = await self.find_one({"_id": document_id})
        if found is None:
            raise NotFound(f"there is no {self._document.noun()} {document_id}")
        return found

    async def find_one(self, where: Mapping[str, Any], sort: Sequence[tuple[str, int]] = ()) -> D | None:
        """Return the first match in `sort` order, or None."""
        with _translated():
            found = await self._raw.find_one(_filter(where), sort=list(sort) or None)
        return None if found is None else self._document.model_validate(found)

    async def find(
        self,
        where: Mapping[str, Any],
        sort: Sequence[tuple[str, int]] = (("created_at", -1),),
        limit: int = 100,
        skip: int = 0,
    ) -> list[D]:
        """Return up to `limit` matches in `sort` order (newest first unless told)."""
        with _translated():
            cursor = self._raw.find(_filter(where)).sort(list(sort)).skip(skip).limit(limit)
            return [self._document.model_validate(found) for found in await cursor.to_list(limit)]

    async def values(
        self,
        where: Mapping[str, Any],
        fields: Sequence[str],
        sort: Sequence[tuple[str, int]],
        limit: int,
        skip: int = 0,
    ) -> list[tuple[Any, ...]]:
        """Return `fields` of up to `limit` matches as stored: times in milliseconds, None where absent.

        For sums over many documents, where reading each whole would take most of the time.
        """
        with _translated():
            cursor = self._raw.find(to_bson(where), dict.fromkeys(fields, 1)).sort(list(sort))
            cursor = cursor.skip(skip).limit(limit)
            return [tuple(found.get(name) for name in fields) for found in await cursor.to_list(limit)]

    async def each(self, where: Mapping[str, Any], batch: int = 200) -> AsyncIterator[D]:
        """Yield every match in order of id, a batch at a time, whatever their number."""
        last: dict[str, Any] = {}
        while True:
            page = await self.find({**where, **last}, (("_id", 1),), batch)
            for document in page:
                yield document
            if len(page) < batch:
                return
            last = {"_id": {"$gt": page[-1].id}}

    async def count(self, where: Mapping[str, Any]) -> int:
        """Return the number of matches."""
        with _translated():
            return int(await self._raw.count_documents(_filter(where)))

    async def distinct(self, field: str, where: Mapping[str, Any]) -> list[Any]:
        """Return the different values of a field among the matches, in no order."""
        with _translated():
            return list(await self._raw.distinct(field, _filter(where)))

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Run an aggregation and return its rows."""
        with _translated():
            return list(await self._raw.aggregate(to_bson(list(pipeline))).to_list(None))

    async def insert(self, document: D, messages: Sequence[Message] = ()) -> D:
        """Store a new document with its messages, then publish them; raises Conflict when it exists."""
        self._check_writer()
        envelopes = self._sealed(messages)
        raw = to_bson(document)
        raw["outbox"] = {envelope.id: envelope.model_dump_json() for envelope in envelopes}
        raw["outbox_count"] = len(envelopes)
        with _translated():
            await self._raw.insert_one(raw)
        await self.outbox.send(document.id, envelopes)
        return document

    async def insert_all(self, documents: Sequence[D]) -> None:
        """Store new documents in one round trip; those that exist already stay as they are."""
        self._check_writer()
        raws = [{**to_bson(document), "outbox": {}, "outbox_count": 0} for document in documents]
        if not raws:
            return
        try:
            with _translated():
                await self._raw.insert_many(raws, ordered=False)
        except errors.BulkWriteError as error:
            found = (error.details or {}).get("writeErrors", [])
            if not found or any(item.get("code") != _DUPLICATE for item in found):
                raise

    async def update(
        self,
        where: Mapping[str, Any],
        changes: Mapping[str, Any],
        *,
        increments: Mapping[str, int | float] | None = None,
        messages: Sequence[Message] = (),
        sort: Sequence[tuple[str, int]] = (),
        upsert: bool = False,
    ) -> D | None:
        """Change the first match of `where` and write down `messages`, in one atomic step.

        Returns the document after the change, or None when nothing matched: the compare failed.
        """
        self._check_writer()
        envelopes = self._sealed(messages)
        update: dict[str, Any] = {"$set": {**to_bson(changes), **outbox_fields(envelopes)}}
        incremented = dict(increments or {})
        if envelopes:
            incremented["outbox_count"] = len(envelopes)
        if incremented:
            update["$inc"] = incremented
        with _translated():
            found = await self._raw.find_one_and_update(
                to_bson(where) if upsert else _filter(where),
                update,
                sort=list(sort) or None,
                upsert=upsert,
                return_document=ReturnDocument.AFTER,
            )
        if found is None:
            return None
        document = self._document.model_validate(found)
        await self.outbox.send(document.id, envelopes)
        return document

    async def require(
        self,
        where: Mapping[str, Any],
        changes: Mapping[str, Any],
        *,
        increments: Mapping[str, int | float] | None = None,
        messages: Sequence[Message] = (),
    ) -> D:
        """Like `update`, but raises StaleState when nothing matched."""
        changed = await self.update(where, changes, increments=increments, messages=messages)
        if changed is None:
            raise StaleState(f"{self._document.noun()} {where.get('_id', '')} is no longer as expected")
        return changed

    async def delete(self, where: Mapping[str, Any]) -> int:
        """Delete every match; return their number."""
        self._check_writer()
        with _translated():
            return int((await self._raw.delete_many(_filter(where))).deleted_count)


class Database:
    """The database as one service sees it.

    Args:
        settings: where it is.
        service: the service's name; decides which collections may be written.
        publisher: where the messages of written documents go.
    """

    def __init__(self, settings: MongoSettings, service: str, publisher: Publisher) -> None:
        self._client: Any = AsyncIOMotorClient(
            settings.url, tz_aware=True, serverSelectionTimeoutMS=5000, appname=f"vitrine-{service}"
        )
        self._raw = self._client[settings.database]
        self._service = service
        self._publisher = publisher
        self._collections: dict[str, Collection[Any]] = {}

    def collection(self, document: type[D]) -> Collection[D]:
        """Return the collection of `document`'s type."""
        name = document.COLLECTION
        if name not in self._collections:
            raw = self._raw[name]
            self._collections[name] = Collection(raw, document, Outbox(raw, self._publisher), self._service)
        return self._collections[name]

    @property
    def telling(self) -> list[Collection[Any]]:
        """The collections in use here that this service writes along with messages."""
        kinds = [(c, c._document) for c in self._collections.values()]  # noqa: SLF001
        return [c for c, kind in kinds if kind.TELLS and self._service == kind.WRITER]

    async def ensure_indexes(self, documents: Sequence[type[Document]]) -> None:
        """Create the indexes of `documents`, and of their outboxes; existing ones stay."""
        with _translated():
            for document in documents:
                outbox = (Index(keys=(("outbox_count", 1),)),) if document.TELLS else ()
                for index in (*document.INDEXES, *outbox):
                    await self._raw[document.COLLECTION].create_index(
                        list(index.keys), unique=index.unique, sparse=index.sparse
                    )

    async def ping(self) -> None:
        """Raise Unavailable unless the server answers."""
        with _translated():
            await self._client.admin.command("ping")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
