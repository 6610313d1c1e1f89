"""Limits of logins that nobody can use to hold somebody else's login shut.

A limit per account alone would do that: whoever knows the address uses it up. Here a browser that an
account was logged in with before carries a device cookie, and its tries count by themselves; only browsers
that the account does not know share a limit (after OWASP's device cookies). The cookie opens nothing.
"""

from __future__ import annotations

from vitrine_api.credentials import hash_secret, new_secret
from vitrine_api.rates import RateLimit
from vitrine_api.repository import Accounts
from vitrine_common.clock import after
from vitrine_common.documents import KnownDevice, User
from vitrine_common.errors import Conflict

DEVICE_SECONDS = 180 * 24 * 3600
_WIDER = 10


class LoginLimits:
    """Counts tries to log in.

    Args:
        accounts: where known browsers are kept.
        per_minute: tries from one address to one account, and of one known browser.
    """

    def __init__(self, accounts: Accounts, per_minute: int) -> None:
        self._accounts = accounts
        self._narrow = RateLimit("logins", per_minute)
        self._wide = RateLimit("logins", per_minute * _WIDER)

    def take_address(self, address: str) -> None:
        """Count what an address tries, whatever the account. Raises RateLimited."""
        self._wide.take(f"address:{address}")

    async def take(self, address: str, login: str, device: str | None) -> None:
        """Count one try. Raises RateLimited."""
        name = login.strip().lower()
        user = await self._accounts.user_by_login(name)
        account = user.id if user else name
        if (
            user is not None
            and device
            and await self._accounts.knows_device(_id_of(device, user.id), user.id)
        ):
            self._narrow.take(f"device:{_id_of(device, user.id)}")
            return
        self._narrow.check(pair := f"{address} {account}")
        self._wide.take(f"address:{address}", f"account:{account}")
        self._narrow.take(pair)

    async def remember(self, user: User, device: str | None) -> str:
        """Let the browser count as known; return the secret of its cookie."""
        device = device or new_secret()
        known = KnownDevice(id=_id_of(device, user.id), user_id=user.id, expires_at=after(DEVICE_SECONDS))
        try:
            await self._accounts.devices.insert(known)
        except Conflict:
            await self._accounts.devices.update({"_id": known.id}, {"expires_at": known.expires_at})
        return device


def _id_of(device: str, user_id: str) -> str:
    return hash_secret(f"{user_id}:{device}")
