"""One session in the hands of its lease holder, from its start to its last event."""
