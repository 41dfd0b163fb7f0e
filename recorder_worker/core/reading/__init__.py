"""Reads recordings: their frames, their film, and any one picture."""
