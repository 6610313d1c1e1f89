"""Claims of versions, the datasets that they are checked on, and the checks."""
