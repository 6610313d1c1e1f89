import argparse

import numpy as np
import torch
from PIL import Image

from net import ResNet56

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()

parser = argparse.ArgumentParser()
parser.add_argument("--weights", default="resnet56.pth")
parser.add_argument("--image", default="input.png")
options = parser.parse_args()

net = ResNet56()
net.load_state_dict(torch.load(options.weights, map_location="cpu"))
net.eval()
image = np.asarray(Image.open(options.image).convert("RGB").resize((32, 32)), dtype=np.float32) / 255
with torch.no_grad():
    scores = net(torch.from_numpy(image).permute(2, 0, 1)[None]).softmax(1)[0]
print(f"{CLASSES[int(scores.argmax())]} {float(scores.max()):.4f}")
