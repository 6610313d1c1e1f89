"""Python client, the vitrine command line and the embedded stack."""
