"""Writes the bundles that the benchmarks push, and times them alone; executed by an interpreter with torch.

usage: make.py write NAME DIRECTORY | make.py time NAME DIRECTORY

Names: resnet56-script, resnet56-predictor, resnet56-onnx, cyclegan-script, gpt2-124m, gpt2-1.5b. Weights
are random, the same at each call. `time` prints how long the model's own inference takes when everything
is loaded, in seconds, as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = {
    "resnet56": ["numpy", "pillow"],
    "cyclegan": ["numpy", "pillow"],
    "gpt2": ["numpy", "safetensors"],
}
TORCH = "torch==2.13.0"
REPEATS = 20
IMAGE = "  image: {type: image, label: Picture}\n"
SPECS = {
    "resnet56-script": (
        "model:\n  command: python test.py\n  input: {type: download, download_destination: input.png}\n"
    ),
    "resnet56-predictor": f"predictor: predict.py:Predictor\ninputs:\n{IMAGE}",
    "resnet56-onnx": (
        "onnx: resnet56.onnx\ninputs:\n"
        "  image: {type: image, tensor: {size: [32, 32], mode: RGB}}\n"
        "outputs:\n  scores: {type: labels, tensor: {name: scores, top: 1}}\n"
    ),
    "cyclegan-script": (
        "model:\n  command: python test.py\n"
        "  input: {type: download, download_destination: ./datasets/testA/image.jpg}\n"
        "  output: {path: ./results/snow-cycle-gan/test_latest/images/, type: png}\n"
    ),
    "gpt2-124m": "predictor: predict.py:Predictor\n",
    "gpt2-1.5b": "predictor: predict.py:Predictor\n",
}
MEMORY = {"gpt2-1.5b": "8Gi", "gpt2-124m": "4Gi"}


def write(name: str, directory: Path) -> None:
    """Write the bundle `name`."""
    import torch

    torch.manual_seed(0)
    family = name.partition("-")[0]
    shutil.copytree(HERE / family, directory, ignore=shutil.ignore_patterns("__pycache__"))
    sys.path.insert(0, str(directory))
    memory = MEMORY.get(name, "2Gi")
    spec = f"name: {name.replace('.', '-')}\nlanguage: python-3.11\n{SPECS[name]}"
    spec += f"resources: {{memory: {memory}}}\n"
    if name != "resnet56-onnx":
        (directory / "requirements.txt").write_text("\n".join([TORCH, *PACKAGES[family], ""]))
        spec += "package: {type: pip, requirements_file: requirements.txt}\n"
    (directory / "vitrine.yaml").write_text(spec)
    {"resnet56": _resnet56, "cyclegan": _cyclegan, "gpt2": _gpt2}[family](name, directory)


def _resnet56(name: str, directory: Path) -> None:
    import torch
    from net import ResNet56

    net = ResNet56().eval()
    _picture(directory / "input.png", 32)
    if name != "resnet56-onnx":
        torch.save(net.state_dict(), directory / "resnet56.pth")
        return
    for source in directory.glob("*.py"):
        source.unlink()
    torch.onnx.export(
        net, (torch.zeros(1, 3, 32, 32),), str(directory / "resnet56.onnx"),
        input_names=["image"], output_names=["scores"], dynamo=False,
    )  # fmt: skip


def _cyclegan(_name: str, directory: Path) -> None:
    import torch
    from networks import ResnetGenerator

    checkpoints = directory / "checkpoints" / "snow-cycle-gan"
    checkpoints.mkdir(parents=True)
    torch.save(ResnetGenerator().state_dict(), checkpoints / "latest_net_G.pth")
    (directory / "datasets" / "testA").mkdir(parents=True)
    _picture(directory / "datasets" / "testA" / "image.jpg", 256)


def _gpt2(name: str, directory: Path) -> None:
    import torch
    from net import GPT2
    from safetensors.torch import save_file

    size = name.removeprefix("gpt2-")
    (directory / "size.txt").write_text(size)
    # Half the bytes for the large one: it is read from the disk, and nothing is trained.
    torch.set_default_dtype(torch.bfloat16 if size == "1.5b" else torch.float32)
    weights = GPT2(size).state_dict()
    if size == "1.5b":
        torch.save(weights, directory / "model.pth")
    else:
        save_file(weights, str(directory / "model.safetensors"))


def _picture(path: Path, side: int) -> None:
    import numpy as np
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)


def own_inference(name: str, directory: Path) -> Callable[[], Any]:
    """Load the model of a bundle and return a call of it, with everything that is not the platform's."""
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    if name == "resnet56-onnx":
        import numpy as np
        import onnxruntime

        session = onnxruntime.InferenceSession("resnet56.onnx")
        return lambda: session.run(None, {"image": np.zeros((1, 3, 32, 32), np.float32)})
    import torch

    if name == "cyclegan-script":
        from networks import ResnetGenerator

        net = ResnetGenerator().eval()
        picture = torch.zeros(1, 3, 256, 256)
        return lambda: _without_gradients(net, picture)
    from predict import Predictor

    predictor = Predictor()
    predictor.setup()
    return lambda: predictor.predict("The vitrine" if name.startswith("gpt2") else "input.png")


def _without_gradients(net: Any, picture: Any) -> Any:
    import torch

    with torch.no_grad():
        return net(picture)


def timed(name: str, directory: Path) -> dict[str, float]:
    """Return the seconds of loading, of the first inference, and of warm ones (median)."""
    began = time.perf_counter()
    infer = own_inference(name, directory)
    loaded = time.perf_counter()
    infer()
    first = time.perf_counter()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        infer()
        seconds.append(time.perf_counter() - start)
    return {"load_s": loaded - began, "first_s": first - loaded, "warm_s": sorted(seconds)[REPEATS // 2]}


def main() -> None:
    """Do what the command line says."""
    action, name, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3]).absolute()
    if action == "write":
        write(name, directory)
    else:
        print(json.dumps(timed(name, directory)))


if __name__ == "__main__":
    main()
