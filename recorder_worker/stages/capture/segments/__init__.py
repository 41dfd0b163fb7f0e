"""Segments: durable files, and what the reader hands over of them."""
