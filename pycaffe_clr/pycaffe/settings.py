"""pycaffe's module functions: device and seed of the nets and solvers made later, layer types."""

from __future__ import annotations

import sys

from pycaffe_clr.devices import GPU
from pycaffe_clr.engine import backend_of, new_seed, ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.log import CaffeLog


class Settings:
    """What set_mode_cpu, set_random_seed and their like set: the defaults of nets made later."""

    device = "cpu"
    gpu = 0
    seed: int | None = None
    log: CaffeLog | None = None


def fresh_seed() -> int:
    """The seed of set_random_seed, or one from the system."""
    if Settings.seed is not None:
        return Settings.seed
    return new_seed()


def set_mode_cpu() -> None:
    """Nets made from now on run on the CPU, with the fastest backend of this build."""
    Settings.device = "cpu"


def set_mode_gpu() -> None:
    """Nets made from now on run on the GPU that set_device chose, or the first. Raises ConfigError
    where there is none."""
    device = f"{GPU}:{Settings.gpu}"
    backend_of(device)
    Settings.device = device


def set_device(device: int | str) -> None:
    """Choose a GPU by number, for set_mode_gpu before or after it; or a device by name."""
    if isinstance(device, str):
        backend_of(device)
        Settings.device = device
        return
    Settings.gpu = device
    if Settings.device.partition(":")[0] == GPU:
        set_mode_gpu()


def set_random_seed(seed: int) -> None:
    """Seed of the nets and solvers made from now on. Raises ConfigError below 0."""
    if seed < 0:
        raise ConfigError(f"the seed must be 0 or more, not {seed}")
    Settings.seed = int(seed)


def layer_type_list() -> list[str]:
    """Types of layers that can be built."""
    return list(ready_core().layer_types())


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Have the solvers made from now on log to stderr, as Caffe's do.

    level: glog's, 0 for everything; from 1, warnings, on there is nothing to log. stderr: whether
    to log at all, since there are no log files here.
    """
    Settings.log = CaffeLog(sys.stderr) if stderr and level <= 0 else None


def log(text: str) -> None:
    """Write a line to the log, with glog's prefix; to stderr also where init_log was not called."""
    (Settings.log or CaffeLog(sys.stderr)).write(text, "_caffe.cpp:52")
