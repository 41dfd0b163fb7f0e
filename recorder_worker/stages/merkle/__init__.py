"""Merkle: leaf records, the tree, signed checkpoints, the seal."""
