"""Continues a prompt, character by character, with the counts of model.json.

python generate.py --prompt "The harbour" --length 200 --temperature 0.8 --seed 1
"""

import argparse
import json
import random
from pathlib import Path

ORDER = 5


def probabilities(model: dict, text: str) -> dict[str, float]:
    """Return the chance of each next character: every longer context corrects the shorter ones.

    The weight of a context is its count against the number of different characters seen after it
    (Witten and Bell, The zero-frequency problem, 1991, method C).
    """
    chances = dict.fromkeys(model["alphabet"], 1 / len(model["alphabet"]))
    for length in range(min(model["order"], len(text)) + 1):
        following = model["counts"].get(text[len(text) - length :])
        if following is None:
            break
        kinds = len(following)
        total = sum(following.values()) + kinds
        chances = {
            character: (following.get(character, 0) + kinds * chance) / total
            for character, chance in chances.items()
        }
    return chances


def continued(model: dict, prompt: str, length: int, temperature: float, seed: int) -> str:
    """Return the prompt and `length` more characters; equal arguments give equal text."""
    rng = random.Random(seed)
    text = prompt
    for _ in range(length):
        chances = probabilities(model, text)
        characters = list(chances)
        weights = [chances[character] ** (1 / temperature) for character in characters]
        text += rng.choices(characters, weights)[0]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompt", default="The ")
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    model = json.loads(Path("model.json").read_text(encoding="utf-8"))
    print(continued(model, options.prompt, options.length, options.temperature, options.seed))


if __name__ == "__main__":
    main()
