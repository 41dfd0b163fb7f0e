"""The only importers of FastStream and nats: topology as data, wiring, disposition."""
