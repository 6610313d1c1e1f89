"""Getting through the door of a restricted link: by what was given, else by asking."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vitrine.cli.console import note
from vitrine.errors import LinkLocked

if TYPE_CHECKING:
    from vitrine.runs import Shared


def open_door(shared: Shared, passcode: str | None, email: str | None, *, ask: bool) -> None:
    """Unlock a link.

    Args:
        shared: the link.
        passcode: what was given; nothing is asked then.
        email: where to have a code sent.
        ask: whether a person may be asked, who then must be at a terminal.

    Raises LinkLocked when the link asks for what nobody can be asked for, Refused for a wrong answer.
    """
    if passcode:
        shared.unlock(passcode)
    elif email:
        _by_mail(shared, email)
    elif ask and sys.stdin.isatty():
        try:
            shared.describe()
        except LinkLocked as locked:
            _by_asking(shared, locked)


def _by_asking(shared: Shared, locked: LinkLocked) -> None:
    import typer

    note(locked.message[:1].upper() + locked.message[1:] + ".")
    if "passcode" in locked.ways:
        shared.unlock(typer.prompt("Passcode", hide_input=True, err=True))
    else:
        _by_mail(shared, typer.prompt("E-mail address", err=True))


def _by_mail(shared: Shared, email: str) -> None:
    import typer

    shared.ask_for_code(email)
    note(f"If {email} is on the link's list, a code is on its way there; it is good for ten minutes.")
    shared.unlock_by_code(email, typer.prompt("Code", err=True))
