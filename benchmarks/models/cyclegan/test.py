import argparse
import os

import numpy as np
import torch
from PIL import Image

from networks import ResnetGenerator

parser = argparse.ArgumentParser()
parser.add_argument("--dataroot", default="./datasets/testA")
parser.add_argument("--name", default="snow-cycle-gan")
parser.add_argument("--checkpoints_dir", default="./checkpoints")
parser.add_argument("--results_dir", default="./results")
opt = parser.parse_args()

net = ResnetGenerator()
net.load_state_dict(
    torch.load(os.path.join(opt.checkpoints_dir, opt.name, "latest_net_G.pth"), map_location="cpu")
)
net.eval()
images = os.path.join(opt.results_dir, opt.name, "test_latest", "images")
os.makedirs(images, exist_ok=True)
for name in sorted(os.listdir(opt.dataroot)):
    image = Image.open(os.path.join(opt.dataroot, name)).convert("RGB").resize((256, 256))
    x = torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        fake = net(x)[0]
    pixels = ((fake.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(os.path.join(images, os.path.splitext(name)[0] + "_fake.png"))
    print("processed", name)
