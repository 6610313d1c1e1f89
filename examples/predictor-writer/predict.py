"""Continues a sentence in the manner of corpus.txt, word by word, as it is written."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

PACE = {"at once": 0.0, "as typed": 0.05}


class Writer:
    """Knows which word follows which two others."""

    def setup(self) -> None:
        """Read the corpus; called once, before the first run."""
        words = Path("corpus.txt").read_text(encoding="utf-8").split()
        self.words = words
        self.following: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for place in range(len(words) - 1):
            for length in (1, 2):
                if place + 1 >= length:
                    self.following[tuple(words[place + 1 - length : place + 1])].append(words[place + 1])

    def predict(
        self,
        prompt: str = "The harbour",
        length: int = 60,
        pace: Literal["at once", "as typed"] = "at once",
        seed: int = 1,
    ) -> Iterator[str]:
        """Yield the prompt, then one word after the other."""
        rng = random.Random(seed)
        yield prompt
        context = prompt.split()[-2:]
        for _ in range(length):
            choices = self.following.get(tuple(context)) or self.following.get(tuple(context[-1:]))
            word = rng.choice(choices or self.words)
            context = [*context, word][-2:]
            time.sleep(PACE[pace])
            yield " " + word
