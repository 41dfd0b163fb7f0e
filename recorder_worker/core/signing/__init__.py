"""Checkpoints as signed notes, and the keys that sign them."""
