"""`vitrine env show`, `diff` and `export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitrine.cli import formats
from vitrine.cli.console import fits, note, print_json, say, table
from vitrine.cli.session import Json, command, connect
from vitrine.errors import ClientError, Misuse
from vitrine.references import LinkAddress, parse_reference, parse_target

if TYPE_CHECKING:
    from vitrine.client import Client
    from vitrine.environments import Change, Environment, EnvironmentDiff

Target = Annotated[str, typer.Argument(metavar="REF|LINK", help="owner/model@version, or a share link.")]
_WORDS = {"base": "the base system", "system": "Debian packages", "meta": "the interpreter's links"}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    env = typer.Typer(
        name="env",
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Look into the environments that versions run in.",
    )
    command(env)(show)
    command(env)(diff)
    command(env)(export)
    app.add_typer(env)


def show(target: Target, *, json_output: Json = False) -> None:
    """Show what a version runs in: packages, layers with their sizes, digests, how long it took to make."""
    what = parse_target(target)
    with _client(what) as client:
        found = client.environments.show(what)
    print_json(found.document()) if json_output else _show(found)


def diff(
    before: Annotated[str, typer.Argument(metavar="REF", help="owner/model@version.")],
    after: Annotated[str, typer.Argument(metavar="REF", help="The other version.")],
    *,
    json_output: Json = False,
) -> None:
    """Show how the environment of the second version differs from that of the first."""
    with connect() as client:
        found = client.environments.diff(parse_reference(before), parse_reference(after))
    print_json(found.document()) if json_output else _show_diff(found)


def export(
    target: Target,
    *,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PATH", help="A folder; a file for one document."),
    ] = None,
    sbom: Annotated[bool, typer.Option("--sbom", help="Only the SBOM (CycloneDX).")] = False,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Only the provenance (in-toto, signed).")
    ] = False,
    lock: Annotated[bool, typer.Option("--lock", help="Only the lock: requirements with hashes.")] = False,
    json_output: Json = False,
) -> None:
    """Write what makes it again without Vitrine: a Dockerfile, requirements with hashes, Debian packages."""
    if sbom + provenance + lock > 1:
        raise Misuse("--sbom, --provenance and --lock are for one document each", advice="Take one of them.")
    what = parse_target(target)
    with _client(what) as client:
        if sbom:
            written = _save(output or Path("sbom.cdx.json"), client.environments.sbom(what))
        elif provenance:
            written = _save(output or Path("provenance.intoto.json"), client.environments.provenance(what))
        elif lock:
            text = client.environments.show(what).lock.encode()
            written = _save(output or Path("requirements.lock"), text)
        else:
            written = client.environments.export(what, output or Path("environment"))
    if json_output:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        say(f"Saved {path}.")
    if not (sbom or provenance or lock):
        note(f"Make it again: docker build -t environment {output or 'environment'}")


def _client(what: object) -> Client:
    from vitrine.client import Client

    return Client(what.url) if isinstance(what, LinkAddress) and what.url else connect()


def _save(path: Path, data: bytes) -> tuple[Path, ...]:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ClientError(f"{path} cannot be written: {error.strerror or error}") from error
    return (path,)


def _show(found: Environment) -> None:
    _show_digest("environment", found.digest)
    say(f"python       {found.python}")
    if not found.told:
        note("A blind link does not tell more.")
        return
    digests = {"image": found.image_digest, "base": found.base_digest, "system": found.system_digest}
    for name, digest in digests.items():
        if digest:
            _show_digest(name, digest)
    say(f"size         {formats.size(found.size_bytes)}")
    if found.timings_ms.get("total"):
        spent = formats.milliseconds(found.timings_ms["total"])
        say(f"made in      {spent}{' (it existed already)' if found.existed else ''}")
    _show_layers(found)
    _show_packages(found)
    if found.sbom_digest:
        note(f"SBOM: vitrine env export {found.reference or 'LINK'} --sbom")


def _show_digest(name: str, digest: str) -> None:
    line = f"{name:<12} {digest}"
    say(line if fits(line) else f"{name:<12} {formats.short_digest(digest)}")


def _show_layers(found: Environment) -> None:
    if not found.layers:
        return
    made = sum(not layer.reused for layer in found.layers)
    say(f"\n{len(found.layers)} layers, {made} made, {len(found.layers) - made} reused")
    rows = [
        [
            _contents(layer.kind, layer.packages),
            formats.size(layer.size_bytes),
            "reused" if layer.reused else "made",
            formats.short_digest(layer.digest),
        ]
        for layer in found.layers
    ]
    table(("LAYER", "SIZE", "", "DIGEST"), rows, "", frozenset({1}))


def _contents(kind: str, packages: tuple[str, ...]) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    rest = len(packages) - 3
    return ", ".join(packages[:3]) + (f" and {rest} more" if rest > 0 else "")


def _show_packages(found: Environment) -> None:
    say(f"\n{len(found.packages)} locked packages")
    for package in found.packages:
        say(f"  {formats.harmless(package.name)}=={formats.harmless(package.version)}")
    for title, entries in (("conda packages", found.conda), ("Debian packages", found.system)):
        if entries:
            say(f"\n{len(entries)} {title}")
        for entry in entries:
            say(f"  {formats.harmless(entry.partition(' ')[0])}")


def _show_diff(found: EnvironmentDiff) -> None:
    if found.same:
        say(f"{found.before} and {found.after} run in the same environment.")
        return
    changes = [change for change in (found.python, found.base) if change is not None]
    _show_changes("", changes)
    _show_changes("Packages", found.packages)
    _show_changes("Debian packages", found.system)
    if found.layers_shared or found.layers_added or found.layers_removed:
        say()
        told = (
            f"{found.layers_shared} layers in both ({formats.size(found.shared_bytes)})",
            f"{found.layers_added} only in {found.after} ({formats.size(found.added_bytes)})",
            f"{found.layers_removed} only in {found.before} ({formats.size(found.removed_bytes)})",
        )
        line = ", ".join(told)
        say(line if fits(line) else "\n".join(told))


def _show_changes(title: str, changes: Iterable[Change]) -> None:
    listed = list(changes)
    if listed and title:
        say(title)
    for change in listed:
        name = formats.harmless(change.name)
        if change.before is None:
            say(f"  + {name} {formats.harmless(change.after or '')}", "green")
        elif change.after is None:
            say(f"  - {name} {formats.harmless(change.before)}", "red")
        else:
            before, after = formats.harmless(change.before), formats.harmless(change.after)
            line = f"  ~ {name} {before} → {after}"
            if not fits(line) and before.startswith("sha256:"):
                line = f"  ~ {name} {formats.short_digest(before)} → {formats.short_digest(after)}"
            say(line)
