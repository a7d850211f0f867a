"""Builds the C++ tests and runs each program through ctest.

They are built where `pip install .` built the package (build/package), whose engine they link, and
with the tools that built it: what is as it was then is not compiled again. Where there is no such folder, or no ninja, it is
build/cpp-tests; PYCAFFE_CLR_TEST_BUILD names another. PYCAFFE_CLR_TEST_CMAKE_ARGS adds options for
CMake.
"""

import fcntl
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "tests" / "cpp").glob("test_*.cpp"))


def tool(name: str) -> str | None:
    """Path of a build tool: from this Python's environment, activated or not, or the system's."""
    own = Path(sys.executable).parent / name
    return str(own) if own.is_file() else shutil.which(name)


def run_or_fail(command: list[str]) -> str:
    """Run a command and return its output, with which the test fails if the command does."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        pytest.fail(f"{shlex.join(command)}\n{done.stdout[-20000:]}{done.stderr[-20000:]}", False)
    return done.stdout + done.stderr


def tool_of(folder: Path, entry: str, name: str) -> str | None:
    """The tool that a build folder was made with, if it is still there: other versions would write
    other commands, or another log of what is built, and all would be compiled again."""
    cache = folder / "CMakeCache.txt"
    if cache.is_file():
        found = re.search(rf"^{entry}:[A-Z]+=(.+)$", cache.read_text(), re.MULTILINE)
        if found and os.access(found[1], os.X_OK):
            return found[1]
    return tool(name)


def build_folder(ninja: str | None) -> Path:
    if chosen := os.environ.get("PYCAFFE_CLR_TEST_BUILD"):
        return Path(chosen)
    found = ninja and (ROOT / "build" / "package" / "build.ninja").exists()
    return ROOT / "build" / ("package" if found else "cpp-tests")


@pytest.fixture(scope="module")
def build() -> Iterator[Path]:
    """Build folder with every C++ test compiled; skips where there is no CMake or compiler."""
    folder = build_folder(tool("ninja"))
    cmake = tool_of(folder, "CMAKE_COMMAND", "cmake")
    ninja = tool_of(folder, "CMAKE_MAKE_PROGRAM", "ninja")
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if cmake is None:
        pytest.skip("no cmake: pip install cmake")
    if compiler is None:
        pytest.skip("no C++ compiler: install g++, or set CXX")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        # Two test runs at once in one checkout must not compile into each other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = [cmake, "-S", str(ROOT), "-B", str(folder), "-DPYCAFFE_CLR_PYTHON=OFF"]
        configure += ["-DPYCAFFE_CLR_TESTS=ON", f"-DPython_EXECUTABLE={sys.executable}"]
        is_new = not (folder / "CMakeCache.txt").exists()
        if ninja and (is_new or (folder / "build.ninja").exists()):
            # Named anew each time: the one that pip used was in a folder of its own, and is gone.
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        run_or_fail(configure + shlex.split(os.environ.get("PYCAFFE_CLR_TEST_CMAKE_ARGS", "")))
        run_or_fail([cmake, "--build", str(folder), "--parallel", str(os.cpu_count() or 1)])
        yield folder


@pytest.mark.parametrize("name", NAMES)
def test_cpp(build: Path, name: str) -> None:
    ctest = tool("ctest")
    assert ctest is not None
    output = run_or_fail(
        [ctest, "--test-dir", str(build), "--output-on-failure", "-R", f"^{name}$"]
    )
    if "No tests were found" in output:
        pytest.fail(f"{name} is not among the tests of {build}")


def test_vector_kernels_share_no_functions(build: Path) -> None:
    """No object for a newer processor defines a function that the linker may give to all others."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm: install binutils")
    shared = []
    objects = [
        (isa, path)
        for isa in ("avx2", "avx512")
        for path in (build / "csrc").rglob(f"CMakeFiles/pcc_isa_{isa}.dir/**/*.o")
    ]
    if not objects:
        assert platform.machine() != "x86_64", f"{build} has no objects of vector kernels"
        pytest.skip("only x86-64 has more than one instruction set")
    for isa, path in objects:
        listed = subprocess.check_output([nm, "-C", str(path)], text=True)
        for line in listed.splitlines():
            kind, _, name = line[17:].partition(" ")
            if kind in ("W", "V", "u") and f"::{isa}::" not in name:
                shared.append(f"{path.name} ({isa}): {name}")
    assert not shared, "move these into namespace PCC_ISA or an unnamed one (see isa.cmake)"
