"""The number of processors available to this run, by the scheduler and the container's limit."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable(cgroup: Path = CGROUP) -> int:
    """Return the number of processors available to this process, at least 1.

    `taskset`, a cpuset or the CPU quota of a container count; `os.cpu_count` and psutil report those of the machine.
    """
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(granted, _quota(cgroup) or granted))


def _quota(cgroup: Path) -> int | None:
    """Return the CPU quota of the control group, rounded up (`cpu.max` of version 2, `cpu.cfs_*` of version 1)."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        count = math.ceil(int(quota) / int(period))
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return count if count > 0 else None
