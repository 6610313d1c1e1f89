"""`python -m vitrine_api.keys list | rotate | revoke KEY`: the keys that sign receipts.

Needs the api's settings (`VITRINE_MONGO_*`, `VITRINE_API_SIGNING_KEY_FILE`). Running apis notice a new file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from vitrine_api.first_account import NoBus
from vitrine_api.receipts.repository import ReceiptRepository
from vitrine_api.receipts.signing import (
    in_use,
    public_key,
    read_key_file,
    replace_key_file,
)
from vitrine_api.settings import ApiSettings
from vitrine_common.clock import after
from vitrine_common.documents import SigningKey
from vitrine_common.errors import Invalid, VitrineError
from vitrine_common.receipts.errors import BadKey
from vitrine_common.receipts.signatures import PrivateKey
from vitrine_common.settings import MongoSettings
from vitrine_common.store import Database

OVERLAP_SECONDS = 300


async def rotate(repository: ReceiptRepository, path: Path, overlap_seconds: float) -> str:
    """Put a new key into `path`; return its id.

    The old ones stay good for what they signed and may sign for `overlap_seconds` more, in which other hosts
    get the new file. A crash on the way leaves a key that can be used, and this can be called again.
    """
    key = PrivateKey.generate()
    earlier = in_use(await repository.keys())
    await repository.add_key(key.id, key.public_raw)
    replace_key_file(path, key)
    for old in earlier:
        end = after(overlap_seconds)
        if old.not_after is None or old.not_after > end:
            await repository.retire_key(old.id, end)
    return key.id


async def revoke(repository: ReceiptRepository, path: Path, key_id: str, reason: str) -> str | None:
    """Take back all trust in a key, and replace it where it is in use; return the new one's id, if any.

    Raises NotFound for a key that this instance never had.
    """
    await repository.key(key_id)
    await repository.revoke_key(key_id, reason)
    return await rotate(repository, path, OVERLAP_SECONDS) if _is_in(path, key_id) else None


def _is_in(path: Path, key_id: str) -> bool:
    """Tell whether the file holds that key, or nothing that could be used."""
    try:
        return read_key_file(path).id == key_id
    except (FileNotFoundError, BadKey):
        return True


def _row(key: SigningKey) -> dict[str, Any]:
    jwk = public_key(key).to_jwk()
    return {name: value for name, value in jwk.items() if name not in {"kty", "crv", "alg", "use"}}


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    path = ApiSettings().signing_key_file
    if path is None:
        raise Invalid("set VITRINE_API_SIGNING_KEY_FILE to the file of the signing key, as the api has it")
    database = Database(MongoSettings(), "api", NoBus())
    try:
        await database.ensure_indexes([SigningKey])
        repository = ReceiptRepository(database)
        if arguments.command == "rotate":
            return {"key": await rotate(repository, path, arguments.overlap)}
        if arguments.command == "revoke":
            new = await revoke(repository, path, arguments.key, arguments.reason)
            return {"revoked": arguments.key, "key": new}
        return {"keys": [_row(key) for key in await repository.keys()]}
    finally:
        database.close()


def main() -> int:
    """Run the command; 0 when it did what was asked, 1 when it could not."""
    parser = argparse.ArgumentParser(prog="python -m vitrine_api.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every key there ever was")
    rotating = commands.add_parser("rotate", help="sign with a new key from now on")
    rotating.add_argument(
        "--overlap", type=float, default=OVERLAP_SECONDS, help="seconds that old keys may sign on"
    )
    revoking = commands.add_parser("revoke", help="a key has leaked: what it signed proves nothing more")
    revoking.add_argument("key", help="its id, sha256:…")
    revoking.add_argument("--reason", default="", help="stands in the published keys")
    try:
        done = asyncio.run(_run(parser.parse_args()))
    except (VitrineError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(done) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
