"""`python -m vitrine_api.first_account --email E [--name N]`: the account that no invite can make.

Prints JSON with `email`, `name`, `password` and `token`, once; refuses as soon as any account exists.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from vitrine_api.accounts import check_account, name_from
from vitrine_api.credentials import new_secret
from vitrine_api.passwords import Passwords
from vitrine_api.policy import ALL_SCOPES
from vitrine_api.repository import Accounts
from vitrine_api.settings import ApiSettings
from vitrine_api.tokens import Tokens
from vitrine_common.clock import after
from vitrine_common.documents import ApiToken, AuditEntry, Session, User
from vitrine_common.errors import Conflict, Unavailable, VitrineError
from vitrine_common.ids import new_id
from vitrine_common.messages import Envelope
from vitrine_common.settings import MongoSettings
from vitrine_common.store import Database


class NoBus:
    """Accounts send no messages; were one sent, its outbox entry would stay for the api's relay."""

    async def publish(self, envelope: Envelope[Any]) -> None:
        """Refuse: nothing is sent from here."""
        raise Unavailable(f"no bus is connected here, {envelope.type} stays in the outbox")


async def make_first_account(database: Database, email: str, name: str) -> dict[str, str]:
    """Make an operator's account and return its credentials. Raises Conflict when any account exists."""
    email, name = email.strip().lower(), name.strip().lower()
    check_account(email, name)
    await database.ensure_indexes([User, Session, ApiToken, AuditEntry])
    accounts = Accounts(database)
    existing = await accounts.any_user()
    if existing is not None:
        raise Conflict(f"there is an account already ({existing.email}); log in, or ask for an invite")
    password = new_secret(128)
    user = User(
        id=new_id("user"),
        email=email,
        name=name,
        password_hash=await Passwords().hash(password),
        operator=True,
    )
    await accounts.users.insert(user)
    expires_at = after(ApiSettings().token_seconds)
    _, token = await Tokens(accounts).issue(user, "first account", ALL_SCOPES, expires_at)
    return {"email": email, "name": name, "password": password, "token": token}


def main() -> int:
    """Run the command; 0 when the account was made, 1 when it was refused."""
    parser = argparse.ArgumentParser(prog="python -m vitrine_api.first_account", description=__doc__)
    parser.add_argument("--email", required=True)
    parser.add_argument("--name", help="owner part of version references; taken from the address without it")
    arguments = parser.parse_args()

    async def run() -> dict[str, str]:
        database = Database(MongoSettings(), "api", NoBus())
        try:
            name = arguments.name or name_from(arguments.email)
            return await make_first_account(database, arguments.email, name)
        finally:
            database.close()

    try:
        made = asyncio.run(run())
    except VitrineError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
