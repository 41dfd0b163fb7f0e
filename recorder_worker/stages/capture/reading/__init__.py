"""The reader thread: from a source to segments and gaps that tile the session's time."""
