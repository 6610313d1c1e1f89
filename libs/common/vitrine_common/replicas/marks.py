"""How a builder tells whether somebody sees the store that it writes: by a name that lies in it."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path


def make_mark(store: Path) -> str:
    """Return the name of the environments' folder `store`, which gets one unless it has it."""
    place = _place(store)
    draft = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    if not (mark := read_mark(store)):
        draft.write_text(secrets.token_hex(16))
        draft.chmod(0o644)
        # Of several builders that begin at once, the first one names it.
        with contextlib.suppress(FileExistsError):
            place.hardlink_to(draft)
        draft.unlink()
        mark = read_mark(store)
    return mark


def read_mark(store: Path) -> str:
    """Return the name of a store; "" where no builder works in it."""
    try:
        return _place(store).read_text().strip()
    except FileNotFoundError:
        return ""


def _place(store: Path) -> Path:
    return store / ".builder" / "store"
