"""What can go wrong with the embedded stack; each message says what to do."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what was asked; the message names the culprit and the way out."""


class AlreadyRunningError(StackError):
    """Another stack holds the data directory."""
