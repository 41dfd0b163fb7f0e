"""The packet stream of the `copy` profile: fragmented MP4, read as far as checks need it."""
