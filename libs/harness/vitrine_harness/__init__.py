"""What runs inside a sandbox: standard library only.

`boot` isolates the process further than the engine's launcher did, `supervisor` waits for work,
`run` is the init process of one run of a script model, `onnx` serves a model without user code.

What a script model's sandbox imports is kept small: it is most of the time that a start takes. That is why
these modules do without `dataclasses`, `pathlib` and, except for type checkers, `typing`.
"""

PROTOCOL = 1
"""Version of the messages between engine and harness."""

BROKEN = 70
"""Status of a model's process in which the author's code broke the harness (EX_SOFTWARE of sysexits.h)."""
