"""All benchmarks: `make bench` or `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import frames, pipeline

if __name__ == "__main__":
    frames.main()
    pipeline.main()
