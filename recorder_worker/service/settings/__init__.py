"""Settings: one tree of keys with limits, read from layers, or refused with the exact value."""
