"""What a requirements file may say, and what is answered to the rest."""

import pytest

from vitrine_builder.requirements import MAX_BYTES, RequirementsError, parse_requirements

SHA = "a" * 64


def test_a_usual_file_is_accepted() -> None:
    text = (
        "# what the model needs\r\n"
        "NumPy >=2, <3   # arrays\r\n"
        "\r\n"
        "uvicorn[standard]==0.30 ; python_version >= '3.8'\r\n"
        f"six==1.17.0 \\\r\n    --hash=sha256:{SHA}\r\n"
    )
    requirements = parse_requirements(text.encode())
    assert [(line.line, line.name) for line in requirements.lines] == [
        (2, "numpy"),
        (4, "uvicorn"),
        (5, "six"),
    ]
    assert requirements.lines[2].hashes == (f"sha256:{SHA}",)
    assert requirements.text.splitlines() == [
        "numpy<3,>=2",
        f"six==1.17.0 --hash=sha256:{SHA}",
        'uvicorn[standard]==0.30 ; python_version >= "3.8"',
    ]


def test_the_digest_ignores_order_comments_spelling_and_byte_order_mark() -> None:
    one = parse_requirements(b"numpy\nPillow>=10 # images\n")
    other = parse_requirements(b"\xef\xbb\xbfpillow >= 10\n\n# none\nnumpy\nnumpy\n")
    assert one.digest == other.digest
    assert one.digest != parse_requirements(b"numpy\npillow>=11\n").digest


def test_an_empty_file_needs_nothing() -> None:
    assert parse_requirements(b"\n# nothing\n").lines == ()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("six\n-r other.txt", 2, "write the lines of that file into this one"),
        ("--requirement=other.txt", 1, "`--requirement` is not allowed"),
        ("-rother.txt", 1, "`-r` is not allowed"),
        ("-e .", 1, "put the package's source into the bundle"),
        ("-c limits.txt", 1, "write the versions of that file"),
        ("--index-url https://example.org/simple", 1, "the operator of the platform"),
        ("--extra-index-url=https://example.org/simple", 1, "the operator of the platform"),
        ("-f wheels", 1, "the operator of the platform"),
        ("--find-links wheels", 1, "the operator of the platform"),
        ("--pre", 1, "name the pre-release"),
        ("--no-binary :all:", 1, "wheels only"),
        ("--unheard-of", 1, "write one requirement a line"),
        ("six --config-settings=a=b", 1, "only `--hash=sha256:…`"),
        ("six --global-option=x", 1, "`--global-option` is not allowed"),
        ("six @ https://example.org/six.whl", 1, "`six` is taken from an address; name a published release"),
        ("six @ file:///etc/passwd", 1, "taken from an address"),
        ("git+https://example.org/six.git", 1, "is a path or an address"),
        ("https://example.org/six.tar.gz", 1, "is a path or an address"),
        ("file:six", 1, "is a path or an address"),
        ("./six", 1, "is a path or an address"),
        ("../six", 1, "is a path or an address"),
        ("/srv/six", 1, "is a path or an address"),
        ("~/six", 1, "is a path or an address"),
        (".", 1, "is a path or an address"),
        ("C:\\six", 1, "is a path or an address"),
        ("wheels/six-1.0-py3-none-any.whl", 1, "is a path or an address"),
        ("six-1.0.tar.gz", 1, "is a path or an address"),
        ("six==${VERSION}", 1, "environment variables are not expanded"),
        ("$HOME", 1, "environment variables are not expanded"),
        ("numpy=1.21=py39_0", 1, "write `numpy==1.21`"),
        ("numpy 1.21", 1, "write `numpy==1.21`"),
        ("numpy=>1", 1, "is not a requirement"),
        ("import numpy as np", 1, "is not a requirement"),
        ("six --hash=md5:0123", 1, "write `--hash=sha256:` and 64"),
        ("# fine\nsix \\\n --hash=sha256:12", 2, "is not a hash that is accepted"),
        ("six \\\n  -r other", 1, "`-r` is not allowed"),
    ],
)
def test_what_reaches_further_is_refused_with_its_line_and_a_way_out(text: str, line: int, said: str) -> None:
    with pytest.raises(RequirementsError) as caught:
        parse_requirements(text.encode(), "needs.txt")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"needs.txt line {line}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"six\0", "NUL byte"),
        ("six".encode("utf-16"), "UTF-16"),
        (b"six\n\xff\n", "requirements.txt line 2: the line is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "bytes, and"),
        (b"\n" * 10_001, "lines, and"),
        (b"six\n" * 1_001, "more than 1000 requirements"),
        (b"six" + b" " * 20_000 + b";x", "longer than"),
    ],
)
def test_what_is_no_sane_file_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(RequirementsError, match=said):
        parse_requirements(data)
