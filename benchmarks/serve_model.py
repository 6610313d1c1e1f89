# Runs in an environment of its own, whose packages are not here.
# mypy: ignore-errors
"""Writes ResNet-56 (He et al. 2016, CIFAR size) as an ONNX file with random weights.

usage: serve_model.py FILE        (needs `onnx` and `numpy`)
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

BLOCKS = 9
WIDTHS = (16, 32, 64)
CLASSES = 10


class Graph:
    """Nodes and weights as they are added; batch normalisation is folded into the convolutions."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(56)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, name: str, *shape: int) -> str:
        """Add a weight tensor."""
        scale = np.sqrt(2.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.01
        array = (self.random.standard_normal(shape) * scale).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, name: str, source: str, before: int, after: int, *, size: int, stride: int) -> str:
        """Add a convolution with bias."""
        weights = [self.weight(f"{name}.w", after, before, size, size), self.weight(f"{name}.b", after)]
        pads, kernel = [size // 2] * 4, [size, size]
        options = {"kernel_shape": kernel, "strides": [stride, stride], "pads": pads}
        return self.node("Conv", [source, *weights], name, **options)

    def block(self, name: str, source: str, before: int, after: int, stride: int) -> str:
        """Add two convolutions and the way around them."""
        first = self.node(
            "Relu", [self.conv(f"{name}.1", source, before, after, size=3, stride=stride)], f"{name}.r1"
        )
        second = self.conv(f"{name}.2", first, after, after, size=3, stride=1)
        around = (
            source
            if before == after
            else self.conv(f"{name}.s", source, before, after, size=1, stride=stride)
        )
        return self.node("Relu", [self.node("Add", [second, around], f"{name}.a")], f"{name}.r2")


def main() -> None:
    """Write the file."""
    graph = Graph()
    source = graph.node("Relu", [graph.conv("stem", "input", 3, WIDTHS[0], size=3, stride=1)], "stem.r")
    before = WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        for block in range(BLOCKS):
            stride = 2 if stage and not block else 1
            source = graph.block(f"s{stage}b{block}", source, before, width, stride)
            before = width
    pooled = graph.node("Flatten", [graph.node("GlobalAveragePool", [source], "pooled")], "flat")
    graph.node(
        "Gemm", [pooled, graph.weight("fc.w", before, CLASSES), graph.weight("fc.b", CLASSES)], "logits"
    )
    made = helper.make_graph(
        graph.nodes,
        "resnet56",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        graph.weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    checker.check_model(model)
    save(model, sys.argv[1])


main()
