"""Requirements to lock to environment."""
