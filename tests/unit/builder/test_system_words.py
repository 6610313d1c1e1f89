"""What package sources are read as, and what apt's words mean."""

from pathlib import Path

import pytest

from vitrine_builder.failures import FailureReason
from vitrine_builder.system.explain import explain_apt
from vitrine_builder.system.sources import SourcesError, host_sources, parse_sources

MIRROR = "http://mirror.example/debian"


def test_sources_of_the_host_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        f"# deb {MIRROR} bookworm main\ndeb [arch=amd64] {MIRROR} bookworm-updates main contrib\n"
        "deb http://other.example/apt stable main\ndeb-src http://x.example bookworm main\n"
    )
    (tmp_path / "sources.list.d/a.sources").write_text(
        f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm bookworm-backports\nComponents: main non-free\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example/\nSuites: bookworm\nComponents: main\n"
    )
    assert host_sources("bookworm", tmp_path).splitlines() == [
        f"{MIRROR} bookworm-updates main",
        f"{MIRROR} bookworm main",
    ]
    assert host_sources("trixie", tmp_path) == ""


def test_a_snapshot_fills_its_place_and_the_release_comes_first() -> None:
    text = f"{MIRROR}/{{snapshot}} bookworm-security main; {MIRROR}/{{snapshot}} bookworm main"
    sources = parse_sources(text, "bookworm", snapshot="20260101T000000Z")
    assert sources.to_text("/k") == (
        f"deb [signed-by=/k] {MIRROR}/20260101T000000Z bookworm main\n"
        f"deb [signed-by=/k] {MIRROR}/20260101T000000Z bookworm-security main\n"
    )


@pytest.mark.parametrize(
    ("text", "snapshot", "words"),
    [
        ("", "", "VITRINE_BUILDER_APT_SOURCES"),
        (f"{MIRROR} trixie main", "", "suite bookworm"),
        (f"[trusted=yes] {MIRROR} bookworm main", "", "no package source"),
        (f"{MIRROR} bookworm", "", "ADDRESS bookworm main"),
        ("ftp://x/ bookworm main", "", "no package source"),
        (f"{MIRROR}/{{snapshot}} bookworm main", "", "VITRINE_BUILDER_APT_SNAPSHOT"),
        (f"{MIRROR} bookworm main", "yesterday", "20261101T000000Z"),
    ],
)
def test_sources_that_are_none(text: str, snapshot: str, words: str) -> None:
    with pytest.raises(SourcesError, match=words.replace("[", r"\[")):
        parse_sources(text, "bookworm", snapshot=snapshot)


@pytest.mark.parametrize(
    ("log", "reason", "culprit", "words"),
    [
        ("E: Unable to locate package libgll1", FailureReason.NO_SUCH_PACKAGE, "libgll1", "spelling"),
        (
            "E: Version '9' for 'r-base-core' was not found",
            FailureReason.NO_SUCH_VERSION,
            "r-base-core=9",
            "no version `9`",
        ),
        (
            "The following packages have unmet dependencies:\n a-x : Conflicts: b-y but 1 is to be there\n",
            FailureReason.CONFLICT,
            "a-x",
            "`b-y`",
        ),
        (
            "Err:1 http://m.example bookworm InRelease\n  Could not resolve 'm.example'\nE: Failed to fetch",
            FailureReason.INDEX_UNREACHABLE,
            None,
            "cannot be reached",
        ),
        (
            "W: GPG error: the public key is not available: NO_PUBKEY 1234",
            FailureReason.INDEX_UNREACHABLE,
            None,
            "VITRINE_BUILDER_APT_KEYRING",
        ),
        (
            "dpkg: error processing archive /x/y_1_all.deb (--unpack):\n No space left on device",
            FailureReason.DISK_FULL,
            None,
            "full",
        ),
        (
            "dpkg: error processing package broken (--configure):\n exit status 7\nE: Sub-process (1)",
            FailureReason.INSTALL_FAILED,
            "broken",
            "`broken`",
        ),
        ("something new", FailureReason.INTERNAL, None, "log"),
    ],
)
def test_what_apt_says_means(log: str, reason: FailureReason, culprit: str | None, words: str) -> None:
    failure = explain_apt(log)
    assert (failure.reason, failure.culprit) == (reason, culprit)
    assert words in failure.sentence
    assert failure.log


def test_near_names_and_other_versions_are_offered() -> None:
    failure = explain_apt("E: Unable to locate package r-base-cor")
    assert "Near it: `r-base-core`." in failure.naming(["r-base-core", "python3", "zlib1g"]).sentence
    assert failure.naming(["python3"]) is failure
    other = explain_apt("E: Version '9' for 'x1' was not found").offering(["1.0", "1.0", "2.0"])
    assert other.sentence.endswith("There is: `1.0`, `2.0`.")
