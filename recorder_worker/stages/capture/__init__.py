"""Capture: one lease, one reader thread, one fenced log of captured events per session."""
