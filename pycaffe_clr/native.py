"""Loads the compiled module and finds its libraries; says what is missing where that fails."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pycaffe_clr.errors import EngineError

if TYPE_CHECKING:
    from pycaffe_clr._core import Module

_ONEDNN_PACKAGE = "onednn-cpu-gomp"
_ONEDNN_LIBRARY = "libdnnl.so.3"


# The libraries of GPUs that wheels of the package index hold, and what names the folder in which
# the engine looks for each: name, variable, package, library.
_GPU_LIBRARIES = [
    ("cuDNN", "PYCAFFE_CLR_CUDNN_DIR", "nvidia-cudnn-cu13", "libcudnn.so.9"),
    ("NCCL", "PYCAFFE_CLR_NCCL_DIR", "nvidia-nccl-cu13", "libnccl.so.2"),
]


def library_of(package: str, library: str) -> Path | None:
    """Path of a library that the package index's wheel installed, wherever it went."""
    try:
        found = [Path(str(f.locate())) for f in files(package) or []]
    except PackageNotFoundError:
        return None
    return next((p for p in found if p.name == library and p.is_file()), None)


def onednn_library() -> Path | None:
    """Path of the oneDNN library."""
    return library_of(_ONEDNN_PACKAGE, _ONEDNN_LIBRARY)


def gpu_libraries() -> list[str]:
    """A line for each of the libraries that GPUs use: its version, and where it was found."""
    lines = []
    for name, variable, package, library in _GPU_LIBRARIES:
        if folder := os.environ.get(variable):
            lines.append(f"{name} in {folder} ({variable})")
        elif path := library_of(package, library):
            lines.append(f"{name} {version(package)} in {path.parent}")
        else:
            lines.append(f"{name} unknown: no package {package}, no {variable}")
    return lines


def name_gpu_libraries() -> None:
    """Tell the engine where wheels put what GPUs need; folders that the user named stay."""
    for _, variable, package, library in _GPU_LIBRARIES:
        if variable not in os.environ and (path := library_of(package, library)):
            os.environ[variable] = str(path.parent)


@cache
def core() -> Module:
    """The compiled module pycaffe_clr._core.

    Raises EngineError if it, or a library it needs, is missing.
    """
    try:
        module = cast("Module", import_module("pycaffe_clr._core"))
    except ModuleNotFoundError as error:
        raise EngineError(
            f"pycaffe_clr: {Path(__file__).parent} has no compiled module _core for this Python; "
            "a source tree has to be installed first: pip install . (and run from elsewhere)"
        ) from error
    except ImportError as error:
        raise EngineError(
            f"pycaffe_clr: the compiled module could not be loaded: {error}"
        ) from error
    module.find_libraries_by(load_library)
    return module


def load_library(problem: str) -> bool:
    """Load the library that the loader did not find, if a package has it: whether it did.

    Backends look for libraries at places relative to themselves, which fails where the two were
    installed under different prefixes. A library that is already loaded need not be found.
    """
    library = onednn_library() if _ONEDNN_LIBRARY in problem else None
    if library is None:
        return False
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


# --- forked processes -----------------------------------------------------------------------------

# OpenMP's threads do not live on in a forked child, whose first parallel loop would wait for them
# for ever.
_threads_were_made = False
_lacks_threads = False


def note_threads(module: Module) -> None:
    """Remember that a net of several threads was built: children that are forked lack them."""
    global _threads_were_made
    if not _threads_were_made and module.threads() > 1:
        _threads_were_made = True
        os.register_at_fork(after_in_child=lambda: _in_child(module))


def _in_child(module: Module) -> None:
    global _lacks_threads
    _lacks_threads = True
    # Nets that are there already run on in one thread.
    module.set_threads(1)


def check_fork() -> None:
    """Raise EngineError in a process that was forked from one which had trained in parallel."""
    if _lacks_threads:
        raise EngineError(
            "this process was forked from one that had built nets on several threads, which it "
            'lacks: start it by multiprocessing.get_context("spawn") instead of "fork", or let the '
            "parent use one thread"
        )
