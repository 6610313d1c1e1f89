"""Message contracts, bus, documents, blobs, states, settings, telemetry and the vitrine.yaml model."""
