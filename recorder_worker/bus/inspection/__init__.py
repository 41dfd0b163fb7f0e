"""Looks at a server's streams and consumers from outside, and changes nothing."""
