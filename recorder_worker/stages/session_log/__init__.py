"""The log of sessions: numbers for sessions, and an entry for each that opens or is sealed."""
