from pathlib import Path

import torch

from net import GPT2

SIZE = Path("size.txt").read_text().strip()


def load():
    with torch.device("meta"):
        net = GPT2(SIZE)
    if Path("model.safetensors").exists():
        from safetensors.torch import load_file

        weights = load_file("model.safetensors")
    else:
        weights = torch.load("model.pth", mmap=True, map_location="cpu")
    net.load_state_dict(weights, assign=True)
    return net.eval()


class Predictor:
    def setup(self):
        self.net = load()

    @torch.no_grad()
    def predict(self, prompt: str = "The vitrine") -> str:
        tokens = torch.tensor([[byte for byte in prompt.encode()]])
        return str(int(self.net(tokens).argmax()))
