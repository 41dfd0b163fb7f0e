"""What a picture is like, and what that says of its source (docs/quality.md)."""
