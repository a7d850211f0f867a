"""How many runs this machine takes at a time, and with how many threads each."""

from __future__ import annotations

import math
import os
from pathlib import Path

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.meeting import LAUNCHER_VARIABLES

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 50


def physical_cores() -> int:
    """Cores that this process may use: two hardware threads of one core count once.

    A container's share of the processor counts as well, as cgroups have it.
    """
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        try:
            cores.add((_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no limit ("max"), or no cgroups
        share = len(cores)
    return max(1, min(len(cores), share))


def share(runs: int, jobs: int | None = None, threads: int | None = None) -> tuple[int, int]:
    """(runs at a time, threads of each) for so many runs.

    Without jobs and threads: a run per core, and where there are fewer runs than cores, the cores
    are shared out. Measured on two cores: four LeNets of one thread each, two at a time, take 0.74
    of the time that they take one after the other with two threads. Raises ConfigError.
    """
    for name, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be 1 or more, not {value}")
    cores, runs = physical_cores(), max(1, runs)
    if jobs is None:
        jobs = max(1, cores // threads) if threads else cores
        jobs = min(jobs, runs)
    return jobs, threads or max(1, cores // jobs)


def environment(threads: int) -> dict[str, str]:
    """The environment of a run's process: its threads, which sleep while they wait.

    Threads that spin take the core from the run beside them.
    """
    found = dict(os.environ)
    # Each run is one by itself, whatever launcher started the queue.
    for name in LAUNCHER_VARIABLES:
        found.pop(name, None)
    # Bound threads of several processes would all sit on the first cores.
    for name in ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"):
        found.pop(name, None)
    found.update(
        OMP_NUM_THREADS=str(threads),
        OMP_WAIT_POLICY="passive",
        # numpy's own threads have nothing to do here.
        OPENBLAS_NUM_THREADS="1",
    )
    return found


def free_memory() -> int:
    """Bytes that new processes can have, as Linux estimates, and a container's limit leaves."""
    return min(_available(), _left_of_limit())


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _NO_LIMIT


def _left_of_limit() -> int:
    try:
        limit, used = (int((_CGROUP / f"memory.{n}").read_text()) for n in ("max", "current"))
    except (OSError, ValueError):  # no limit ("max"), or no cgroups
        return _NO_LIMIT
    return max(0, limit - used)
