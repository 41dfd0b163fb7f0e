"""The `recorder` command."""
