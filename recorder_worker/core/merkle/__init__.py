"""Merkle trees and their proofs (RFC 9162)."""
