"""The doctor: looks at a recorder, offline and on the bus, and repairs what is safe."""
