"""Texts of programs on blind links: what would tell is hidden, what helps stays."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vitrine_api.scrubbing import HIDDEN, MAX_TEXT, Scrubber, keyed_words, readable, telling


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
        ("from 2001:db8:7::2a, fe80::1 on 0a:1b:2c:3d:4e:5f", f"from {HIDDEN}, {HIDDEN} on {HIDDEN}"),
        ("at 2001:db8:0:1:2:3:4:5.", f"at {HIDDEN}."),
        ("12:34:56 x[1::2] y[10::200] std::cout", "12:34:56 x[1::2] y[10::200] std::cout"),
    ],
)
def test_what_is_hidden_and_what_stays(scrub: Scrubber, text: str, expected: str) -> None:
    assert scrub(text) == expected


def test_long_texts_end_in_time(scrub: Scrubber) -> None:
    for piece in ("/a", "a@", "a.b-", "x://", "ada ", "1.2.3.", "abcd:", "abc::1:"):
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


def test_notes_that_cameras_and_programs_leave_in_pictures_are_read() -> None:
    notes = PngInfo()
    notes.add_text("Author", "Ada Lovelace")
    notes.add_itxt("Comment", "taken by Noël Müller")
    png, jpeg = io.BytesIO(), io.BytesIO()
    noise = Image.frombytes("RGB", (128, 128), random.Random(7).randbytes(128 * 128 * 3))
    noise.save(png, "PNG", pnginfo=notes)
    exif = Image.Exif()
    exif[0x9C9D] = "Ada Lovelace".encode("utf-16le")
    exif[0x013B] = "ada@lab.example"
    noise.save(jpeg, "JPEG", exif=exif)
    assert telling(readable(png.getvalue()), ["Lovelace", "Müller"]) == ["Lovelace", "Müller"]
    assert telling(readable(jpeg.getvalue()), ["Lovelace"]) == ["ada@lab.example", "Lovelace"]


def test_a_picture_without_notes_tells_nobody() -> None:
    for seed in range(20):
        raw = random.Random(seed).randbytes(1 << 16)
        assert telling(readable(raw), ["Lovelace", "ada"]) == []
