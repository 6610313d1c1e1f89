"""Training jobs in sandboxes, metrics and samples."""
