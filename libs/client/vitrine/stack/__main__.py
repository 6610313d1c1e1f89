"""The supervisor's own process: `python -m vitrine.stack`, started by `vitrine up`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from vitrine.stack.errors import StackError
from vitrine.stack.settings import FIRST_ACCOUNT, SERVICES, Given, StackSettings
from vitrine.stack.stack import Announcement, run_stack


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vitrine.stack", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--email", default="owner@vitrine.local")
    parser.add_argument("--json", action="store_true", help="announce as JSON")
    parser.add_argument("--announce-fd", type=int, help="announce there instead of on stdout")
    parser.add_argument("--services", default=",".join(SERVICES), help="which ones, comma-separated")
    parser.add_argument("--package-prefix", default="vitrine_")
    parser.add_argument("--first-account", default=FIRST_ACCOUNT, help="module that makes it; empty for none")
    parser.add_argument("--no-fork", action="store_true", help="start services as processes of their own")
    return parser.parse_args(argv)


def _settings(arguments: argparse.Namespace) -> StackSettings:
    return StackSettings(
        data_dir=arguments.data_dir.absolute(),
        host=arguments.host,
        port=arguments.port,
        engine=arguments.engine,
        email=arguments.email,
        given=Given.from_environment(),
        services=tuple(name for name in arguments.services.split(",") if name),
        package_prefix=arguments.package_prefix,
        first_account=arguments.first_account or None,
        fork=False if arguments.no_fork else None,
    )


def announcement_text(said: Announcement) -> str:
    """Return what a person reads once the stack is up."""
    lines = [f"Vitrine runs at {said.url}"]
    if said.password:
        lines += [f"  e-mail    {said.email}", f"  password  {said.password}   (shown once)"]
    if said.email and not said.logged_in:
        lines.append("The command line stays logged in elsewhere; `vitrine login` changes that.")
    if said.warning:
        lines.append(f"Warning: {said.warning}")
    lines.append(f"Data and logs: {said.data_dir}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the supervisor; the exit status is 0 after an orderly stop."""
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", force=True
    )

    def announce(said: Announcement) -> None:
        if arguments.announce_fd is not None:
            os.write(arguments.announce_fd, said.model_dump_json().encode() + b"\n")
            os.close(arguments.announce_fd)
        else:
            text = said.model_dump_json() if arguments.json else announcement_text(said)
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    try:
        run_stack(_settings(arguments), announce)
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
