"""Overload as pure rules: who is slowed down, when, and until when."""
