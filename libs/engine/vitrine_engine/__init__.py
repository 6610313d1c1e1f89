"""Where user code runs: the Engine protocol and the process engine."""
