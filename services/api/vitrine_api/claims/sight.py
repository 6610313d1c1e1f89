"""How much of a check, and of a claim's dataset, somebody may see."""

from __future__ import annotations

from dataclasses import dataclass

from vitrine_api import blindness
from vitrine_api.claims.checks import CheckRecord
from vitrine_api.policy import Action, Principal, Visitor, allows
from vitrine_common.documents import CheckDataset, ShareLink
from vitrine_common.receipts.commitments import Domain


@dataclass(frozen=True)
class ClaimSight:
    """One reader's view of claims.

    Args:
        principal: who reads.
    """

    principal: Principal

    @property
    def link(self) -> ShareLink | None:
        """The link that the reader came by."""
        return self.principal.link if isinstance(self.principal, Visitor) else None

    @property
    def is_blind(self) -> bool:
        """Whether the reader must not learn whose model it is."""
        return self.link is not None and self.link.blind

    @property
    def shows_history(self) -> bool:
        """Whether the reader may see how others' checks ended."""
        return self.link is None or blindness.shows_history(self.link)

    def may_open(self, record: CheckRecord) -> bool:
        """Whether files that were added, and their names, are the reader's to see."""
        return allows(self.principal, Action.OPEN, record.request)

    def shows_numbers(self, record: CheckRecord) -> bool:
        """Whether measured values are: those on somebody's own files are that person's."""
        return self.may_open(record) or not record.request.own_inputs

    def shows_texts(self, record: CheckRecord) -> bool:
        """Whether what the command printed, and why it failed, is.

        It may name files of a private dataset, or whoever wrote it; those who came by a link then get the
        kind of failure alone.
        """
        if self.link is None:
            return self.may_open(record)
        private = record.request.dataset is not None and bool(record.request.dataset.private)
        return self.may_open(record) and not private and not self.is_blind

    def digest(self, domain: Domain, raw: str) -> str:
        """Return a digest as the reader sees it."""
        return blindness.digest(self.link, domain, raw)

    def dataset_name(self, dataset: CheckDataset) -> str:
        """Return a dataset as the reader may name it."""
        return "" if self.is_blind else f"{dataset.name}@{dataset.number}"
