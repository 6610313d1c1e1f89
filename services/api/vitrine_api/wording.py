"""What pages say about reasons and errors: what happened, whose fault it is, what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """A failure in words."""

    title: str
    blame: str
    """Who has to do something about it."""
    advice: str
    for_owner: str = ""
    """What the model's owner is told instead of both."""


_MODEL = "This is the model's side, not yours."
_YOURS = "This can be changed in the form."
_OURS = "This is our fault, not yours or the model's."

_REASONS = {
    "user_error": Explanation(
        "The model's program stopped with an error",
        _MODEL,
        "Try another input, or tell the author.",
        "What it printed last says more; repair it and push again.",
    ),
    "timeout": Explanation(
        "The model took longer than it may",
        _MODEL,
        "Try a smaller input, or tell the author.",
        "Make it faster, or raise `resources.timeout` in vitrine.yaml.",
    ),
    "out_of_memory": Explanation(
        "The model needed more memory than it may use",
        _MODEL,
        "Try a smaller input, or tell the author.",
        "Make it smaller, or raise `resources.memory` in vitrine.yaml.",
    ),
    "disk_full": Explanation(
        "The model wrote more to disk than it may",
        _MODEL,
        "Try a smaller input, or tell the author.",
        "Write less, or raise `resources.disk` in vitrine.yaml.",
    ),
    "output_too_large": Explanation(
        "The result is larger than can be kept",
        _MODEL,
        "Try a smaller input, or tell the author.",
        "Return less: outputs have a size limit.",
    ),
    "sandbox_violation": Explanation(
        "The model tried something that its sandbox does not allow",
        _MODEL,
        "Only its author can change this.",
        "Runs have no network and see only their own directory; what it printed last may say what it tried.",
    ),
    "input_invalid": Explanation(
        "The model cannot read this input", _YOURS, "Change the input and run it again."
    ),
    "build_failed": Explanation(
        "This version has no environment: its build failed",
        _MODEL,
        "Only its author can change this.",
        "The version's page says why; repair it and push again.",
    ),
    "expired": Explanation(
        "This run waited too long and was given up",
        _OURS,
        "The server is busy: run it again in a few minutes.",
    ),
    "cancelled": Explanation("This run was cancelled", "", "Run it again whenever you like."),
    "platform_error": Explanation(
        "Something broke on our side",
        _OURS,
        "Run it again; if it happens twice, tell whoever runs this server.",
    ),
}

_STATUSES = {
    400: Explanation("This request makes no sense to us", "", "Go back and try again."),
    401: Explanation("Log in first", "", "This page is for those who have an account here."),
    403: Explanation(
        "This is not yours to see", "", "Log in with another account, or ask its owner for a link."
    ),
    404: Explanation("There is nothing here", "", "The address may be mistyped, or what it showed is gone."),
    409: Explanation(
        "Something changed in the meantime", "", "Go back, look at it again, and repeat what you did."
    ),
    410: Explanation("This is no longer here", "", "Ask whoever gave you the address for a new one."),
    413: Explanation("That is too large", "", "Send a smaller file; the form says how large one may be."),
    422: Explanation(
        "Something in the form needs another look", "", "Change what is named here and send it again."
    ),
    429: Explanation("That was too much at once", "", "Wait a moment, then try again."),
    500: Explanation(
        "Something broke on our side", "", "Try again; if it happens twice, tell whoever runs this server."
    ),
    503: Explanation("We are busy or restarting", "", "Nothing is lost. Try again in a moment."),
}


def explain_run(state: str, reason: str | None) -> Explanation:
    """Return the words for a run that did not succeed."""
    return _REASONS.get(reason or state, _REASONS["platform_error"])


def explain_status(status: int) -> Explanation:
    """Return the words for an HTTP status, known or not."""
    return _STATUSES.get(status) or _STATUSES[400 if 400 <= status < 500 else 500]
