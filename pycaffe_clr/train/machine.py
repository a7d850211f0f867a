"""What a run depends on beside its solver: versions, processor, threads."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.version import package_version

if TYPE_CHECKING:
    from pycaffe_clr._core import Module, Net

# Instruction sets by which CPU kernels are chosen.
_FEATURES = ("sse4_1", "avx", "avx2", "fma", "avx_vnni", "avx512", "amx")
# The names of numerics, and the verbs that go with them.
_NUMERICS = (
    ("threads", "were", "are"),
    ("ranks", "were", "are"),
    ("backend", "was", "is"),
    ("precision", "was", "is"),
    ("kernels", "were", "are"),
    ("features", "were", "are"),
)
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of what computes."""
    names = ("numpy", "protobuf", "lmdb", "onednn-cpu-gomp")
    found = {"pycaffe_clr": package_version(), "python": platform.python_version()}
    found.update({name: package_version(name) for name in names})
    return found


def processor() -> dict[str, str]:
    """Model and instruction sets of the processor, as far as Linux tells."""
    found = {"model": platform.machine(), "features": ""}
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            found["model"] = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = [flag for flag in value.split() if flag.startswith(_FEATURES)]
            found["features"] = " ".join(sorted(flags))
            break
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)]
    if limits:
        found["features"] += f" ({', '.join(limits)})"
    return found


def numerics(core: Module, net: Net) -> dict[str, Any]:
    """What the last bits of a run depend on. core: the compiled module; net: the core train net."""
    found = {
        "threads": core.threads(),
        "ranks": net.ranks,
        "backend": net.backend,
        "precision": net.precision,
    }
    if net.backend.startswith("cuda"):
        # Chosen by measurement, which may come out otherwise where its file is lost.
        made = "\n".join(row["implementation"] for row in net.plan())
        found["kernels"] = hashlib.sha256(made.encode()).hexdigest()[:8]
    return {**found, **processor()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One phrase for each thing that is not as it was: `threads were 2 and are 1`."""
    return [
        f"{name} {was} {before[name]} and {present} {now[name]}"
        for name, was, present in _NUMERICS
        if name in before and before[name] != now[name]
    ]


def now() -> str:
    """The time of day with its time zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
