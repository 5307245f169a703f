"""How many CPU cores this process may really use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Give the cores of the process's affinity, or its cgroup's CPU quota where that is less.

    ``os.cpu_count`` knows neither: in a container held to 2 of 64 cores it would give 64 threads
    that the kernel then throttles.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = quota_cores()
    return allowed if quota is None else min(allowed, max(1, int(quota)))


def quota_cores(root: Path = _CGROUP_ROOT, own: Path = _OWN_CGROUP) -> float | None:
    """Read the CPU quota of this process's cgroup and of those above it.

    Version 2 (``cpu.max``) and version 1 (``cpu.cfs_quota_us``) are read; see the kernel's
    Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.

    Args:
        root: Where cgroups are mounted.
        own: The kernel's list of the process's cgroups.

    Returns:
        The least quota in cores, or None where there is none.
    """
    quotas = [_quota_v2(folder) for folder in _ancestry(root, _own_path(own))]
    quotas.append(_quota_v1(root / "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def _own_path(own: Path) -> str:
    for line in _read(own).splitlines():
        if line.startswith("0::"):  # the one line of version 2
            return line.removeprefix("0::").strip("/")
    return ""


def _ancestry(root: Path, path: str) -> list[Path]:
    folder = root / path
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _quota_v2(folder: Path) -> float | None:
    match _read(folder / "cpu.max").split():
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
    return None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if not quota or not period or int(quota) < 0:
        return None
    return int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:  # not Linux, or not this version of cgroups
        return ""
