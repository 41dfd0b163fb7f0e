"""Cameras and grabbers, by V4L2."""
