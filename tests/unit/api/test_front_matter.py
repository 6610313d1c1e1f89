"""The front matter of model cards."""

from __future__ import annotations

import pytest

from vitrine_api.front_matter import MAX_RESULTS, facts_of
from vitrine_api.markdown import render_markdown, split_front_matter
from vitrine_api.presenters.cards import with_samples
from vitrine_api.views import CardResult, NumberField, TextField

HUB = """language:
- en
- de
license: other
license_name: rail-m
license_link: https://example.org/rail
library_name: transformers
tags: [text-generation, small]
datasets:
- wikitext
base_model: gpt2
widget:
- text: "Once upon a time"
  example_title: Story
- text: "Once upon a time"
- src: https://elsewhere.example/tracker.jpg
  text: Is this loaded?
model-index:
- name: little
  results:
  - task: {type: text-generation, name: Text generation}
    dataset: {type: wikitext, name: WikiText-103, config: raw}
    metrics:
    - {type: perplexity, value: 18.3456789}
    - {type: rouge, name: ROUGE-L, value: 31}
    - {type: empty}
"""


def test_a_card_of_the_hub_is_understood() -> None:
    facts = facts_of(HUB)
    told = {fact.title: fact.items for fact in facts.facts}
    assert told == {
        "Licence": ("rail-m",),
        "Language": ("en", "de"),
        "Library": ("transformers",),
        "Made from": ("gpt2",),
        "Data": ("wikitext",),
        "Tags": ("text-generation", "small"),
    }
    assert facts.facts[0].url == "https://example.org/rail"
    assert facts.results == (
        CardResult(task="Text generation", dataset="WikiText-103", metric="perplexity", value="18.3457"),
        CardResult(task="Text generation", dataset="WikiText-103", metric="ROUGE-L", value="31"),
    )
    assert facts.samples == ("Once upon a time",), "once, and nothing that is a file of somebody else"


@pytest.mark.parametrize(
    "matter",
    [
        "",
        "- a\n- list\n",
        "a: [1, 2",
        "a: &x [1]\nb: !!python/object:os.system {}\n",
        "model-index: 3\ntags: {a: b}\nwidget: text\n",
        "license: {a: 1}\nmodel-index: [{results: [{metrics: [{value: {x: [1]}}]}, 7]}]\n",
    ],
)
def test_what_cannot_be_read_is_left_out(matter: str) -> None:
    assert all(item for fact in facts_of(matter).facts for item in fact.items)
    assert not facts_of(matter).results


def test_floods_are_cut() -> None:
    metrics = "".join(f"    - {{type: m{number}, value: 1}}\n" for number in range(500))
    flood = "model-index:\n- results:\n  - metrics:\n" + metrics
    assert len(facts_of(flood).results) == MAX_RESULTS
    assert len(facts_of("tags: [" + ", ".join(f"t{n}" for n in range(500)) + "]").facts[0].items) == 30


def test_no_link_but_to_the_web() -> None:
    facts = facts_of("license: mit\nlicense_link: javascript:alert(1)\n")
    assert facts.facts[0].url is None


def test_the_page_shows_what_comes_after_it() -> None:
    card = f"---\n{HUB}---\n# Little\n\nSee --- below.\n"
    assert split_front_matter(card) == (HUB, "# Little\n\nSee --- below.\n")
    assert "license" not in render_markdown(card)
    plain = "# Little\n\n---\n\nA rule stands above.\n"
    assert split_front_matter(plain) == ("", plain)
    assert split_front_matter("---\r\nlicense: mit\r\n---\r\nText") == ("license: mit\r\n", "Text")
    assert split_front_matter("---\nnever: closed\n")[0] == ""


def test_samples_go_to_the_first_text_that_takes_them() -> None:
    fields = (
        NumberField(name="n", title="N"),
        TextField(name="t", title="T", max_length=5),
        TextField(name="u", title="U"),
    )
    filled = with_samples(fields, ["short", "much too long"])
    first, second = filled[1:]
    assert isinstance(first, TextField)
    assert [example.value for example in first.examples] == ["short"]
    assert second == fields[2]
    assert with_samples(fields[:1], ["short"]) == fields[:1]
