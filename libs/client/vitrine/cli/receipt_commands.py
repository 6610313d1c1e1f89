"""`vitrine receipt`, `verify`, `opening` and `export`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitrine.cli import formats
from vitrine.cli.console import note, print_json, say
from vitrine.cli.session import FAILED, Json, command, connect
from vitrine.errors import ClientError, Misuse, Unreachable
from vitrine.references import LinkAddress, parse_target

if TYPE_CHECKING:
    from vitrine.client import Client
    from vitrine_common.receipts.keys import KeySet
    from vitrine_common.receipts.openings import Opened, Opening
    from vitrine_common.receipts.predicates import ClaimStatement, RunStatement
    from vitrine_common.receipts.verification import Verification

Saved = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save it in this file.")]


def register(app: typer.Typer) -> None:
    """Add the receipts' commands to `app`."""
    for function in (receipt, verify, opening, export):
        command(app)(function)


def receipt(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    *,
    output: Saved = None,
    json_output: Json = False,
) -> None:
    """Fetch the signed receipt of a run: what ran, on what, with which result."""
    with connect() as client:
        data = client.receipts.receipt(run_id)
    path = output or Path(f"receipt-{run_id}.json")
    _save(path, data)
    print_json({"run": run_id, "file": str(path)}) if json_output else say(f"Saved {path}.")


def verify(
    receipt_file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt, as it was downloaded.")],
    *,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The platform's keys; nothing is fetched then."),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="The platform that you trust; else the one logged in to."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="FILE", help="A file that the receipt must name (repeatable)."),
    ] = None,
    opening_file: Annotated[
        Path | None,
        typer.Option("--opening", metavar="FILE", help="What the author of a blind link showed."),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch the keys again first.")] = False,
    json_output: Json = False,
) -> None:
    """Check a signed receipt, without a network once the keys are here.

    The keys of a platform are fetched once and kept; a receipt never says by itself whom to trust. The exit
    status is 0 only when everything that was asked holds.
    """
    from vitrine.receipts import read_bytes
    from vitrine_common.receipts.verification import verify as check

    if keys is not None and (refresh or instance is not None):
        raise Misuse("--keys is a file: it goes with neither --from nor --refresh")
    data = read_bytes(receipt_file)
    found = check(data, _read_keys(keys)) if keys else _check(data, instance, refresh=refresh)
    opened = _open(found, opening_file)
    files = {path: _named(found, path, opened) for path in file or ()}
    holds = found.valid and all(files.values()) and (opened is None or opened.fits)
    if json_output:
        print_json(_document(found, files, opened, holds=holds))
    else:
        _show(found, files, opened, receipt_file)
    if not holds:
        raise typer.Exit(FAILED)


def opening(
    link: Annotated[str, typer.Argument(metavar="LINK_ID", help="The blind link's whole id.")],
    *,
    output: Saved = None,
    json_output: Json = False,
) -> None:
    """Fetch what opens a blind link's receipts. Whoever has it can tell what the receipts are about."""
    from vitrine.receipts import as_file

    with connect() as client:
        document = client.receipts.opening(link)
    path = output or Path(f"opening-{link}.json")
    _save(path, as_file(document))
    print_json({"link": link, "file": str(path)}) if json_output else say(f"Saved {path}.")


def export(
    target: Annotated[str, typer.Argument(metavar="REF|LINK", help="owner/model@version, or a share link.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The archive to write.")],
    with_files: Annotated[
        bool, typer.Option("--with-files", help="Put the bundle's files in, too (one's own versions).")
    ] = False,
    json_output: Json = False,
) -> None:
    """Save a version as one RO-Crate archive: model file, lock, claims, receipts, model card."""
    what = parse_target(target)
    if with_files and isinstance(what, LinkAddress):
        raise Misuse("--with-files is for versions of your own; a link never gives files away")
    with _client(what.url if isinstance(what, LinkAddress) else None) as client:
        size = client.receipts.export(what, output, with_files=with_files)
    if json_output:
        print_json({"file": str(output), "size": size})
    else:
        say(f"Saved {output} ({formats.size(size)}).")


def _client(url: str | None) -> Client:
    from vitrine.client import Client

    return Client(url) if url else connect()


def _save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ClientError(f"{path} cannot be written: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Opened:
    """What became of an opening."""

    message: str
    commitments: tuple[Opened, ...] = ()
    opening: Opening | None = None

    @property
    def fits(self) -> bool:
        """Whether it opens the receipt."""
        return self.opening is not None


def _check(data: bytes, instance: str | None, *, refresh: bool) -> Verification:
    """Check against the pinned keys of a platform; a key that is not known may be newer than they are."""
    from vitrine.receipts import Pins
    from vitrine_common.receipts.verification import Fault, verify

    pins = Pins()
    with _client(instance) as client:
        pinned = None if refresh else pins.of(client.url)
        known = pinned or pins.pin(client.url, client.receipts.keys())
        found = verify(data, known)
        if pinned is not None and found.fault is Fault.UNKNOWN_KEY:
            with suppress(Unreachable):
                found = verify(data, pins.pin(client.url, client.receipts.keys()))
    return found


def _read_keys(path: Path) -> KeySet:
    from vitrine.receipts import read_bytes
    from vitrine_common.receipts.errors import Malformed
    from vitrine_common.receipts.keys import read_keys

    try:
        return read_keys(read_bytes(path))
    except Malformed as error:
        raise Misuse(f"{path}: {error.message}") from error


def _open(found: Verification, path: Path | None) -> _Opened | None:
    from vitrine.receipts import read_bytes
    from vitrine_common.receipts.errors import Malformed
    from vitrine_common.receipts.openings import open_receipt, read_opening

    if path is None or found.statement is None:
        return None
    try:
        given = read_opening(read_bytes(path))
        opened = tuple(open_receipt(found.statement, given))
    except Malformed as error:
        return _Opened(error.message)
    shown = sum(item.claimed is not None for item in opened)
    return _Opened(f"it shows {shown} of {len(opened)} digests", opened, given)


def _named(found: Verification, path: Path, opened: _Opened | None) -> list[str]:
    """Return as what the receipt names a file."""
    from vitrine_common.digests import sha256_file
    from vitrine_common.receipts.commitments import ALGORITHM, PREFIX, commit
    from vitrine_common.receipts.openings import named_digests

    if found.statement is None:
        return []
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror or error}") from error
    key = opened.opening.key if opened and opened.opening else None
    names = []
    for domain, name, told in named_digests(found.statement):
        committed = told.get(ALGORITHM)
        if committed is None:
            fits = f"sha256:{told.get('sha256')}" == digest
        else:
            fits = key is not None and commit(key, domain, digest) == PREFIX + committed
        if fits:
            names.append(f"{domain} {name}")
    return names


def _document(
    found: Verification, files: Mapping[Path, list[str]], opened: _Opened | None, *, holds: bool
) -> dict[str, Any]:
    listed = [
        {
            "what": item.domain,
            "name": item.name,
            "commitment": item.commitment,
            "digest": item.claimed.digest if item.claimed else None,
        }
        for item in (opened.commitments if opened else ())
    ]
    return {
        "holds": holds,
        "valid": found.valid,
        "fault": found.fault.value if found.fault else None,
        "message": found.message,
        "key": found.key_id,
        "instance": found.instance,
        "files": {str(path): names for path, names in files.items()},
        "opening": {"fits": opened.fits, "message": opened.message, "opened": listed} if opened else None,
        "statement": found.statement.document() if found.statement else None,
    }


def _show(found: Verification, files: Mapping[Path, list[str]], opened: _Opened | None, path: Path) -> None:
    if found.statement is None or not found.valid:
        note(f"{path} proves nothing: {formats.harmless(found.message)}", "red")
        return
    told = found.statement.predicate
    say(f"{path} holds: signed by {found.instance or told.instance.url}, and unchanged since.", "green")
    say(f"  verdict     {formats.harmless(told.verdict)}")
    say(f"  issued      {told.issued_at}")
    for domain, name, digest in _rows(found.statement):
        say(f"  {domain:<11} {formats.harmless(name)}  {digest}")
    for item in opened.commitments if opened else ():
        if item.claimed is not None:
            claimed = item.claimed
            say(f"  opened      {item.name}: {formats.harmless(claimed.name)} {claimed.digest}")
    if opened is not None:
        note(
            f"The opening {'fits' if opened.fits else 'does not fit'}: {opened.message}.", _tone(opened.fits)
        )
    for file, names in files.items():
        words = (
            f"is its {formats.harmless(', '.join(names))}" if names else "is none of the files that it names"
        )
        note(f"{file} {words}.", _tone(bool(names)))
    note("It is the platform's word on what ran, not on whether the result is right.", "dim")


def _rows(statement: RunStatement | ClaimStatement) -> list[tuple[str, str, str]]:
    """Return what a statement names: what, name, digest or commitment."""
    from vitrine_common.receipts.openings import named_digests

    rows: list[tuple[str, str, str]] = []
    for domain, name, told in named_digests(statement):
        ((algorithm, value),) = list(told.items())[:1]
        rows.append((domain, name, f"{algorithm}:{value}"))
    return rows


def _tone(good: bool) -> str:
    return "green" if good else "red"
