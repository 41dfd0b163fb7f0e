"""The HTTP sidecar, and what its page shows."""
