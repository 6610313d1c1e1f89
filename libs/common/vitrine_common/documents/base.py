"""The base of every stored document, and how a document becomes BSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vitrine_common.clock import utcnow


class Index(BaseModel):
    """An index of a collection; `keys` as pymongo takes them."""

    model_config = ConfigDict(frozen=True)

    keys: tuple[tuple[str, int], ...]
    unique: bool = False
    sparse: bool = False


class Document(BaseModel):
    """One document. `WRITER` is the only service whose code may write the collection.

    Only documents of kinds that `TELLS` may be written along with messages: these collections have an outbox.
    """

    model_config = ConfigDict(populate_by_name=True, extra="ignore")

    COLLECTION: ClassVar[str]
    WRITER: ClassVar[str]
    INDEXES: ClassVar[tuple[Index, ...]] = ()
    TELLS: ClassVar[bool] = False

    id: str = Field(alias="_id")
    created_at: datetime = Field(default_factory=utcnow)

    @classmethod
    def noun(cls) -> str:
        """Return the type's name in words, for messages: `share link`."""
        return re.sub(r"(?<!^)(?=[A-Z])", " ", cls.__name__).lower()


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""The expiry of a lease that nobody holds, so that one comparison finds what is free."""


class Leased(Document):
    """A document that one worker at a time may own. The lease's fields are flat and never null.

    A free document has an empty token and an expiry long ago; a lease past its expiry may be taken.
    """

    lease_token: str = ""
    lease_holder: str = ""
    lease_expires_at: datetime = LONG_AGO


class WorkDocument(Leased):
    """A document that a worker carries through a state machine under a lease."""

    attempt: int = Field(default=0, description="How often work on it was begun.")
    updated_at: datetime = Field(default_factory=utcnow)


def to_bson(value: Any) -> Any:
    """Turn models, enums, times and sets into what the driver stores, through every depth.

    Times are stored as milliseconds since the epoch, which every server that speaks the protocol
    compares alike (the embedded one compares dates by whole seconds); pydantic reads them back.
    """
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, BaseModel):
        dumped = {name: to_bson(getattr(value, name)) for name in type(value).model_fields}
        if isinstance(value, Document):
            dumped["_id"] = dumped.pop("id")
        return dumped
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_bson(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_bson(item) for item in value]
    return value
