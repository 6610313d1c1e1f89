"""Texts of programs on blind links: what would tell is hidden, what helps stays."""

from __future__ import annotations

import pytest

from vitrine_api.scrubbing import HIDDEN, MAX_TEXT, Scrubber, keyed_words, telling


@pytest.fixture
def scrub() -> Scrubber:
    aliases = {"src/net.py": "file-1.py", "data/weights.pt": "file-2.pt"}
    words = ["Ada Lovelace", "ada", "lovelace-lab"]
    return Scrubber(words, ["vm", "bucket-7"], list(aliases), lambda path: aliases.get(path, "file-x"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("step 3 of 10, 1/2 done, and/or 3.5", "step 3 of 10, 1/2 done, and/or 3.5"),
        ("by Ada Lovelace, ADA_LOVELACE, ada.lovelace", f"by {HIDDEN}, {HIDDEN}, {HIDDEN}"),
        ("ada runs adamw", f"{HIDDEN} runs adamw"),
        ("LovelaceLab42", f"{HIDDEN}42"),
        ('File "/work/src/net.py", line 3', 'File "file-1.py", line 3'),
        ('File "src/net.py", line 3', 'File "file-1.py", line 3'),
        ("no weights.pt here", "no file-2.pt here"),
        ("/env/lib/python3.11/site-packages/torch/nn.py", "site-packages/torch/nn.py"),
        ("/usr/lib/python3.11/json/decoder.py", "json/decoder.py"),
        ("cannot read /home/someone/x.bin: gone", "cannot read file-x: gone"),
        ("~someone/.cache and C:\\Users\\someone\\x", "file-x and file-x"),
        ("on vm at 10.0.0.7 from a@b.example", f"on {HIDDEN} at {HIDDEN} from {HIDDEN}"),
        ("s3://bucket-7/key and https://x.example/y?z", f"{HIDDEN} and {HIDDEN}"),
        ("</div> a / b // c", "</div> a / b // c"),
    ],
)
def test_what_is_hidden_and_what_stays(scrub: Scrubber, text: str, expected: str) -> None:
    assert scrub(text) == expected


def test_long_texts_end_in_time(scrub: Scrubber) -> None:
    for piece in ("/a", "a@", "a.b-", "x://", "ada ", "1.2.3."):
        assert len(scrub(piece * 200_000)) <= 4 * MAX_TEXT


def test_names_in_files_about_a_project() -> None:
    project = 'authors = [{name = "Ada L.", email = "ada@l.example"}]'
    found = keyed_words([project, "[user]\n\tname = Grace H\n", "- family-names: Noether"])
    assert {"Ada L.", "ada@l.example", "Grace H", "Noether"} <= set(found)


def test_what_tells_readers_who_wrote() -> None:
    text = "Made at Lovelace Lab, see https://github.com/ada/net, ask a@b.example, 0000-0002-1825-0097."
    told = telling(text, ["lovelace-lab"])
    assert told == ["Lovelace Lab", "github.com/ada/net,", "a@b.example", "0000-0002-1825-0097"]
    assert telling("A model that tells cats from dogs.", ["ada"]) == []
