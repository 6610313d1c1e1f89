"""Worker host: sandboxes, dispatch, scale to zero."""
