"""Films of verified recordings, each with its account and its proof."""
