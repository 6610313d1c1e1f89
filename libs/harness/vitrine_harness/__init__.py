"""What runs inside a sandbox: standard library only.

`boot` isolates the process further than the engine's launcher did, `supervisor` waits for work,
`run` is the init process of one run of a script model, `onnx` serves a model without user code.
"""

PROTOCOL = 1
"""Version of the messages between engine and harness."""
