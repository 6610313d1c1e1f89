"""Model files that several tests read."""

LITERATURE = """\
name: "snow-gan"
language: "python-3.11"
framework: "pytorch"
description: "A very nice project"
version: 1.1.0
model:
  fileType: ".zip"
  path: "source-code/snow-gan"
  exec_cmd: ""
  command: "bash activateEnvAtoB.sh"
  output:
    path: "./results/snow-cycle-gan/test_latest/images/"
    type: "png"
  input:
    type: "download"                 # a file is put at download_destination; or "flag": values become command-line flags / environment
    download_destination: "./datasets/testA/image.jpg"
package:
  type: "conda"                      # pip | conda | apt
  requirements_file: "./requirements.txt"
"""  # noqa: E501 - a line of the published file is that long
FLAGS = """\
name: story
model: {command: python generate.py, input: {type: flag}}
inputs:
  prompt: {type: text, max_length: 20}
  length: {type: number, default: 5, min: 1, max: 10, integer: true}
  style: {type: choice, choices: [calm, 2], required: false}
  options: {type: json, required: false}
  picture: {type: image, required: false, max_bytes: 1000}
  table: {type: file, required: false, accept: [.csv, text/*]}
"""


def short(value: object) -> str:
    """Name a parameter of a test without writing all of it."""
    return "number" if isinstance(value, int) else ascii(value)[:30]
