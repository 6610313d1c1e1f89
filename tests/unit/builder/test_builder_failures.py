"""What uv 0.13 says (recorded in `messages/`) and what a person is told."""

import errno
from pathlib import Path

import pytest

from vitrine_builder.failures import (
    RETRIED,
    BuildFailure,
    FailureReason,
    disk_errors,
    explain,
    from_requirements_error,
    scrub,
)
from vitrine_builder.requirements import RequirementsError

MESSAGES = Path(__file__).parent / "messages"
CASES: dict[str, tuple[FailureReason, str | None, str]] = {
    "no-such-package": (FailureReason.NO_SUCH_PACKAGE, "no-such-package-vitrine", "check the spelling"),
    "no-such-version": (FailureReason.NO_SUCH_VERSION, "six==99.1", "There is no version `six==99.1`"),
    "no-version-in-range": (FailureReason.NO_SUCH_VERSION, "six>=99,<100", "the index has `six<=1.17.0`"),
    "no-local-version": (FailureReason.NO_SUCH_VERSION, "torch==2.13.0+cu118", "check the number"),
    "no-usable-wheel": (FailureReason.NO_WHEEL, "numpy==1.19.0", "wheels only"),
    "sdist-pinned": (FailureReason.NO_WHEEL, "docopt==0.6.2", "wheels only"),
    "sdist-only": (FailureReason.NO_WHEEL, "docopt", "wheels only"),
    "other-python": (FailureReason.NO_WHEEL, "tensorflow==2.3.0", "no wheel for Python 3.11"),
    "other-platform": (FailureReason.NO_WHEEL, "tensorflow-macos<=2.11.0", "on this platform"),
    "contradiction": (FailureReason.CONFLICT, "numpy==2.4.6", "`numpy==2.4.6` and `numpy<2`"),
    "conflict": (FailureReason.CONFLICT, "idna==2.0", "`requests==2.31.0` needs `idna>=2.5`"),
    "conflict-with-marker": (
        FailureReason.CONFLICT,
        "numpy==2.4.6",
        "`pandas==2.2.0` needs `numpy>=1.23.2,<2`, but your requirements ask for `numpy==2.4.6`",
    ),
    "every-version": (FailureReason.CONFLICT, "sourced<1", "`user` needs `sourced>=1`, but your"),
    "transitive": (FailureReason.CONFLICT, "bb<=1.0", "`bb<=1.0` needs `sourced<1`, and `aa<=1.0` needs"),
    "transitive-version": (FailureReason.NO_SUCH_VERSION, "plain>=7", "the index has `plain==1.0`"),
    "transitive-missing": (FailureReason.NO_SUCH_PACKAGE, "absent", "No package is called `absent`"),
    "refused": (FailureReason.INDEX_UNREACHABLE, None, "cannot be reached"),
    "no-name": (FailureReason.INDEX_UNREACHABLE, None, "cannot be reached"),
    "index-hangs": (FailureReason.INDEX_UNREACHABLE, None, "cannot be reached"),
    "server-error": (FailureReason.INDEX_UNREACHABLE, None, "cannot be reached"),
    "bad-certificate": (FailureReason.INDEX_UNREACHABLE, None, "cannot be reached"),
    "no-find-links": (FailureReason.INDEX_UNREACHABLE, None, "cannot be reached"),
    "unauthorised": (FailureReason.INDEX_UNREACHABLE, None, "refuses the platform's credentials"),
    "forbidden": (FailureReason.INDEX_UNREACHABLE, None, "refuses the platform's credentials"),
    "full-cache": (FailureReason.DISK_FULL, None, "disk is full"),
    "full-wheel": (FailureReason.DISK_FULL, None, "disk is full"),
    "hash-mismatch": (FailureReason.HASH_MISMATCH, "numpy==2.4.6", "Do not use them"),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_recorded_message_becomes_a_reason(name: str) -> None:
    reason, culprit, said = CASES[name]
    failure = explain((MESSAGES / f"{name}.txt").read_text())
    assert (failure.reason, failure.culprit) == (reason, culprit)
    assert said in failure.sentence
    assert "error" in "\n".join(failure.log)


def test_every_recorded_message_is_expected() -> None:
    assert {file.stem for file in MESSAGES.iterdir()} == set(CASES)


def test_no_message_carries_an_address_or_a_host_path_to_the_author() -> None:
    for file in MESSAGES.iterdir():
        failure = explain(file.read_text())
        told = "\n".join([failure.sentence, *failure.log])
        assert "://" not in told
        assert "/srv" not in told


def test_unknown_words_are_internal_with_the_log() -> None:
    failure = explain("error: the moon is in the wrong house\n  cause: https://me:secret@index.example/x")
    assert failure.reason is FailureReason.INTERNAL
    assert failure.log == ("error: the moon is in the wrong house", "  cause: <address>")


def test_a_file_over_the_limit_ends_uv_by_a_signal() -> None:
    assert explain("", returncode=-25).reason is FailureReason.DISK_FULL


def test_scrub_leaves_names_and_versions() -> None:
    assert scrub("numpy==2.4.6 from http://a:b@h.example/simple/ in /srv/cache/x") == (
        "numpy==2.4.6 from <address> in <path>"
    )


def test_a_full_disk_is_told_from_other_errors() -> None:
    with pytest.raises(BuildFailure) as caught, disk_errors():
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.reason is FailureReason.DISK_FULL
    with pytest.raises(PermissionError), disk_errors():
        raise PermissionError(errno.EACCES, "no")


def test_only_what_may_pass_is_tried_again() -> None:
    assert {reason.value for reason in RETRIED} == {"index_unreachable", "disk_full", "timeout", "internal"}


def test_a_refused_file_keeps_its_words() -> None:
    failure = from_requirements_error(RequirementsError("needs.txt", 3, "bad", "write good"))
    assert failure.reason is FailureReason.INVALID_REQUIREMENTS
    assert failure.sentence == "needs.txt line 3: bad; write good"
