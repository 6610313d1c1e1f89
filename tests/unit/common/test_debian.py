import pytest

from vitrine_common.debian import MAX_PACKAGES, PackageListError, check_packages, parse_packages


def test_a_list_is_read_sorted_with_comments_and_versions() -> None:
    data = b"# what R needs\nr-base-core  # R itself\nlibgl1 g++\nlibstdc++6=12.2.0-14+deb12u1\n\nlibgl1\n"
    assert parse_packages(data, "p") == ("g++", "libgl1", "libstdc++6=12.2.0-14+deb12u1", "r-base-core")


def test_a_version_wins_over_none_and_two_versions_are_a_contradiction() -> None:
    assert check_packages(["libgl1", "libgl1=1.6.0-1"]) == ("libgl1=1.6.0-1",)
    with pytest.raises(
        PackageListError, match=r"`libgl1` is asked for in versions 1\.5-1 and 1\.6-1; keep one"
    ):
        check_packages(["libgl1=1.6-1", "libgl1=1.5-1"])


def test_lists_are_bounded_and_text() -> None:
    with pytest.raises(PackageListError, match="more than 200"):
        check_packages(f"lib{number}x" for number in range(MAX_PACKAGES + 1))
    with pytest.raises(PackageListError, match=r"^p: the file is not UTF-8"):
        parse_packages(b"\xff\xfe", "p")
    with pytest.raises(PackageListError, match="more than 65536 bytes"):
        parse_packages(b"#" * 70_000, "p")
