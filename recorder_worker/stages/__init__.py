"""Stage logic over core and ports; no FastStream, no NATS in here."""
