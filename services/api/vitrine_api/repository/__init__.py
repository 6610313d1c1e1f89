"""Every database call of the api. What may be seen by whom is decided by `policy`, not here."""

from __future__ import annotations

from vitrine_api.repository.accounts import Accounts
from vitrine_api.repository.bundles import Bundles, Sort
from vitrine_api.repository.links import Links, Mails
from vitrine_api.repository.paging import MAX_PAGE, Page, Where, by_ids, page_of
from vitrine_api.repository.work import Runs, Scores, Trials
from vitrine_common.store import Database

__all__ = [
    "MAX_PAGE",
    "Accounts",
    "Bundles",
    "Links",
    "Mails",
    "Page",
    "Repository",
    "Runs",
    "Scores",
    "Sort",
    "Trials",
    "Where",
    "by_ids",
    "page_of",
]


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
