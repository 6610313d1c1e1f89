"""The first account of a new stack, and the command line's login with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from vitrine.config import config_path, read_saved, write_private
from vitrine.errors import ClientError
from vitrine.stack.errors import StackError
from vitrine.stack.probes import tcp_answers

_SECONDS = 60


class Account(BaseModel):
    """`account.json` (mode 0600): who may log in first. The password is shown once, then only stands here."""

    email: str
    password: str
    token: str
    url: str = ""


def account_path(data_dir: Path) -> Path:
    """Return where the first account stands."""
    return data_dir / "account.json"


def load_account(data_dir: Path) -> Account | None:
    """Return the first account of `data_dir`, or None when there is none that can be read."""
    try:
        return Account.model_validate_json(account_path(data_dir).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def make_account(
    module: str, email: str, url: str, data_dir: Path, environment: Mapping[str, str]
) -> Account:
    """Have the api make the first account (`python -m <module> --email <email>`) and keep it.

    Raises StackError when the module fails or answers something else than the account.
    """
    argv = [sys.executable, "-P", "-m", module, "--email", email]
    try:
        made = subprocess.run(
            argv, env=dict(environment), capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        account = Account.model_validate_json(made.stdout.strip().rpartition("\n")[2])
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().rpartition("\n")[2]
        raise StackError(f"The first account could not be made: {last}") from None
    except subprocess.TimeoutExpired:
        raise StackError(f"The first account could not be made within {_SECONDS} s.") from None
    except ValidationError:
        raise StackError(f"The first account could not be made: {module} did not print one.") from None
    account = account.model_copy(update={"url": url})
    write_private(account_path(data_dir), account.model_dump())
    return account


def log_in(account: Account, url: str, data_dir: Path, path: Path | None = None) -> bool:
    """Log the command line in to this stack at `url`; return whether that was done.

    A login to another platform that may still be wanted stays: one that is not on this machine, or whose
    address answers. So does a file that cannot be read.
    """
    path = path or config_path()
    try:
        known = read_saved(path)
    except ClientError:
        return False
    if not _may_replace(known.get("url"), {account.url, url}):
        return False
    write_private(path, {**known, "url": url, "token": account.token})
    if account.url != url:
        write_private(account_path(data_dir), {**account.model_dump(), "url": url})
    return True


def _may_replace(saved: object, ours: set[str]) -> bool:
    if not isinstance(saved, str) or saved in ours:
        return True
    place = urlsplit(saved)
    if place.hostname not in {"127.0.0.1", "localhost", "::1"}:
        return False
    return not tcp_answers(place.hostname, place.port or 80)
