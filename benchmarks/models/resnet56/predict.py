from pathlib import Path

import numpy as np
import torch
from PIL import Image

from net import ResNet56

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


class Predictor:
    def setup(self):
        self.net = ResNet56()
        self.net.load_state_dict(torch.load("resnet56.pth", map_location="cpu"))
        self.net.eval()

    @torch.no_grad()
    def predict(self, image: Path) -> str:
        pixels = np.asarray(Image.open(image).convert("RGB").resize((32, 32)), dtype=np.float32) / 255
        scores = self.net(torch.from_numpy(pixels).permute(2, 0, 1)[None]).softmax(1)[0]
        return f"{CLASSES[int(scores.argmax())]} {float(scores.max()):.4f}"
