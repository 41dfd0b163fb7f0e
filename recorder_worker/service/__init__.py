"""Settings, logs, metrics, sidecar and the composition root."""
