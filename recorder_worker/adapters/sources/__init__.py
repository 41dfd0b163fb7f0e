"""Frame sources: one module a kind, and the opener that picks between them."""
