"""pycaffe's module functions: device and seed of the nets and solvers made later, layer types."""

from __future__ import annotations

from pycaffe_clr.engine import backend_of, new_seed, ready_core
from pycaffe_clr.errors import ConfigError


class Settings:
    """What set_mode_cpu, set_random_seed and their like set: the defaults of nets made later."""

    device = "cpu"
    seed: int | None = None


def fresh_seed() -> int:
    """The seed of set_random_seed, or one from the system."""
    if Settings.seed is not None:
        return Settings.seed
    return new_seed()


def set_mode_cpu() -> None:
    """Nets made from now on run on the CPU, with the fastest backend of this build."""
    Settings.device = "cpu"


def set_mode_gpu() -> None:
    """Nets made from now on run on the GPU. Raises ConfigError where this build has none."""
    backend_of("gpu")
    Settings.device = "gpu"


def set_device(device: int | str) -> None:
    """Choose a GPU by number, which has no effect on the CPU; or a backend by name."""
    if isinstance(device, str):
        backend_of(device)
        Settings.device = device


def set_random_seed(seed: int) -> None:
    """Seed of the nets and solvers made from now on. Raises ConfigError below 0."""
    if seed < 0:
        raise ConfigError(f"the seed must be 0 or more, not {seed}")
    Settings.seed = int(seed)


def layer_type_list() -> list[str]:
    """Types of layers that can be built."""
    return list(ready_core().layer_types())
