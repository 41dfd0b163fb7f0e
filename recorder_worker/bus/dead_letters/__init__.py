"""Messages that nobody could process: how they are kept, found, tried again, and dropped."""
