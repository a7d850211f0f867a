"""Which device trains: from solver_mode, --gpu and --device to the name of one."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pycaffe_clr.engine import backend_of, ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.native import gpu_libraries

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

# The backend that GPUs mean.
GPU = "cuda"
# Where it was built.
MODULE = Path(__file__).parent / "libpycaffe_clr_cuda.so"


class Choice(NamedTuple):
    """A device by name, and how many GPUs were asked for, 0: none. note: for the log."""

    device: str
    gpus: int
    note: str


def gpus() -> tuple[list[str], str]:
    """(names of the GPUs here, by number; why there are none)."""
    return ready_core().devices(GPU)


def gpu_lines() -> list[str]:
    """What GPUs are here and by what they would be used; none where the package knows of none.

    Raises EngineError where the engine cannot be loaded.
    """
    if not MODULE.is_file():
        return []
    names, why = gpus()
    if not names:
        return [f"GPUs none: {why}", *gpu_libraries()]
    runtime, driver = ctypes.c_int(), ctypes.c_int()
    ctypes.CDLL(str(MODULE)).pcc_cuda_versions(ctypes.byref(runtime), ctypes.byref(driver))
    used, known = (f"{n.value // 1000}.{n.value % 1000 // 10}" for n in (runtime, driver))
    cuda = f"CUDA {used}, driver for CUDA {known}"
    return [f"GPUs {', '.join(names)}", cuda, *gpu_libraries()]


def device_number(device: str) -> int:
    """1 of "cuda:1", 0 where no number stands there."""
    return int(device.partition(":")[2] or 0)


def gpu_name(device: str) -> str | None:
    """The name of the GPU that a device means; None of any other device."""
    if device.partition(":")[0] != GPU:
        return None
    names, number = gpus()[0], device_number(device)
    return names[number] if number < len(names) else None


def gpu_numbers(text: str, count: int) -> list[int]:
    """The GPUs of `--gpu 0,2` or `--gpu all` where there are `count`, each once.

    Raises ConfigError for what is no number, comes twice, or is not there.
    """
    if text.strip() == "all":
        return list(range(count))
    numbers = []
    for word in text.split(","):
        if not word.strip().isdecimal():
            raise ConfigError(f'--gpu "{text}": numbers, separated by commas, or all')
        numbers.append(int(word))
    twice = next((n for n in numbers if numbers.count(n) > 1), None)
    if twice is not None:
        raise ConfigError(f"--gpu {text}: {twice} stands there twice")
    if count and max(numbers) >= count:
        raise ConfigError(
            f"--gpu {text}: there {f'are {count} GPUs' if count > 1 else 'is 1 GPU'}, "
            "numbered from 0"
        )
    return numbers


def of_gpu_flag(text: str) -> Choice:
    """What `--gpu TEXT` means here: without any GPU the CPU, which the note then says.

    Raises ConfigError for wrong numbers.
    """
    names, why = gpus()
    numbers = gpu_numbers(text, len(names))
    if not names:
        asked = max(len(numbers), 1)
        replicas = f", with {asked} replicas" if asked > 1 else ""
        return Choice("cpu", asked, f"--gpu {text}: {why}. Use CPU{replicas}.")
    backend_of(f"{GPU}:{numbers[0]}")
    used = "; ".join(f"GPU {n}: {names[n]}" for n in numbers)
    return Choice(f"{GPU}:{numbers[0]}", len(numbers), used)


def all_of_gpu_flag(text: str) -> Choice:
    """The same for what runs on several at a time: "cuda:0,2" of `--gpu 0,2`."""
    choice = of_gpu_flag(text)
    if choice.gpus < 2 or not choice.device.startswith(GPU):
        return choice
    numbers = gpu_numbers(text, len(gpus()[0]))
    return choice._replace(device=f"{GPU}:{','.join(map(str, numbers))}")


def of_solver(solver: SolverParameter) -> Choice:
    """What solver_mode and device_id mean here: GPU, Caffe's default, is the CPU without any.

    Raises ConfigError for a device_id that is not there.
    """
    if solver.solver_mode == type(solver).CPU:
        return Choice("cpu", 0, "Use CPU.")
    names, why = gpus()
    if not names:
        return Choice("cpu", 0, f"solver_mode is GPU: {why}. Use CPU.")
    number = solver.device_id
    if not 0 <= number < len(names):
        raise ConfigError(f"device_id: {number}: the GPUs here are numbered 0 to {len(names) - 1}")
    return Choice(f"{GPU}:{number}", 1, f"GPU {number}: {names[number]}")
