"""What this machine and this process use, as the kernel says."""

from __future__ import annotations

from pathlib import Path

import psutil

from recorder_worker.core.events import NodeLoad


class Machine:
    """Measures; percentages are over the time since the measurement before.

    Args:
        data_path: its file system is the disk that counts; it may not be there yet.
    """

    def __init__(self, data_path: Path) -> None:
        self._data_path = data_path
        self._process = psutil.Process()
        # The first measurement of a percentage has nothing before it, and is 0.
        psutil.cpu_percent()
        self._process.cpu_percent()

    def load(self) -> NodeLoad:
        """What is used now. Blocks for a moment; raises OSError."""
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._existing()))
        return NodeLoad(
            cpu_count=psutil.cpu_count() or 1,
            cpu_percent=psutil.cpu_percent(),
            load_1m=psutil.getloadavg()[0],
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            process_memory_bytes=self._process.memory_info().rss,
            process_cpu_percent=self._process.cpu_percent(),
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
        )

    def _existing(self) -> Path:
        path = self._data_path.absolute()
        while not path.exists():
            path = path.parent
        return path
