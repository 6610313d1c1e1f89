"""What accounts are told of: every kind in one table. A new one is one line here and one in `facts`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TEST = "webhook.test"


@dataclass(frozen=True)
class Kind:
    """A kind of news.

    Attributes:
        name: `noun.past_verb`, as webhooks receive it.
        title: what an account reads where it chooses.
        mail: whether it is mailed unless the account says otherwise.
        page: whether it stands on the page; what happens by the hundred is for webhooks alone.
    """

    name: str
    title: str
    mail: bool = False
    page: bool = True

    @property
    def key(self) -> str:
        """The name where a dot cannot stand."""
        return self.name.replace(".", "_")


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("version.ready", "A version can be run"),
        Kind("version.build_failed", "A version's packages cannot be installed", mail=True),
        Kind("run.finished", "A run that you began has ended", page=False),
        Kind("run.failed_by_platform", "The platform failed at a run of yours", mail=True),
        Kind("training.finished", "A training has ended"),
        Kind("training.failed", "A training has failed", mail=True),
        Kind("claim.checked", "A claim of yours was checked", mail=True),
        Kind("link.first_run", "A link was used for the first time"),
        Kind("link.quota_near", "A link's runs are almost used up", mail=True),
        Kind("link.quota_reached", "A link's runs are used up", mail=True),
        Kind("link.expiring", "A link ends within two days", mail=True),
        Kind("quota.near", "A quota of your account is almost used up", mail=True),
        Kind("quota.reached", "A quota of your account is used up", mail=True),
        Kind("invite.accepted", "Somebody took an invite of yours"),
        Kind("review.assigned", "You are asked to review", mail=True),
        Kind("review.submitted", "A venue has a new submission"),
        Kind("review.finished", "A reviewer has given a verdict"),
        Kind("review.decided", "A venue has decided", mail=True),
        Kind("webhook.switched_off", "A webhook was switched off", mail=True),
    )
}
