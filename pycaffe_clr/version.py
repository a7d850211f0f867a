"""Versions of this package and of others, as they are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# The backend for GPUs, where it was built.
MODULE = Path(__file__).parent / "libpycaffe_clr_cuda.so"


def package_version(name: str = "pycaffe_clr") -> str:
    """Version of an installed package; "unknown" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def gpu_lines() -> list[str]:
    """What GPUs are here and by what they would be used; none where the package knows of none.

    Raises EngineError where the engine cannot be loaded.
    """
    import ctypes

    from pycaffe_clr.devices import gpus
    from pycaffe_clr.native import gpu_libraries

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
