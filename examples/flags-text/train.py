"""Counts which character follows which few others in corpus.txt, and writes the counts as model.json."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

from generate import ORDER, probabilities

try:
    from vitrine_metrics import log  # stands in every sandbox; elsewhere `pip install vitrine-harness`
except ModuleNotFoundError:

    def log(step: int, **values: float) -> None:
        """Print the same numbers as JSON lines."""
        print(json.dumps({"step": step, **values}), flush=True)


HELD_OUT = 600
"""Characters at the end of the text that only measure."""


def counted(text: str, order: int) -> dict[str, dict[str, int]]:
    """Return context → next character → count, for contexts of up to `order` characters."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for place, character in enumerate(text):
        for length in range(min(order, place) + 1):
            counts[text[place - length : place]][character] += 1
    return {context: dict(following) for context, following in counts.items()}


def bits_per_character(model: dict, text: str) -> float:
    """Return how many bits the model needs on average for a character of `text`; fewer is better."""
    total = 0.0
    for place, character in enumerate(text):
        chances = probabilities(model, text[:place])
        total -= math.log2(chances.get(character, 1e-6))
    return total / len(text)


def main() -> None:
    text = " ".join(Path("corpus.txt").read_text(encoding="utf-8").split())
    learned, held_out = text[:-HELD_OUT], text[-HELD_OUT:]
    alphabet = sorted(set(text))
    for order in range(ORDER + 1):
        model = {"alphabet": alphabet, "order": order, "counts": counted(learned, order)}
        log(step=order, bits_per_character=bits_per_character(model, held_out))
    Path("model.json").write_text(json.dumps(model, ensure_ascii=False), encoding="utf-8")
    print(f"wrote model.json: {len(model['counts'])} contexts of up to {ORDER} characters")


if __name__ == "__main__":
    main()
