"""The frame stream of the `screen` profile (docs/format.md), written and read."""
