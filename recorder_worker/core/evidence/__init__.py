"""Parts of a recording that prove themselves: clips, and proofs of one record."""
