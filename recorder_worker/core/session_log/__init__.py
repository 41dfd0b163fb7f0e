"""The log of sessions: a plain RFC 6962 log in SHA-256, laid out as C2SP tiles.

Any reader of C2SP logs reads it (c2sp.org/tlog-tiles, tlog-checkpoint, tlog-proof). What an entry
says is ours: which session was opened or sealed, under which number, with which signed checkpoint.
"""
