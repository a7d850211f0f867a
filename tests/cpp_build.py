"""The C++ tests: built, and run through ctest, beside the tests in Python, which come first.

So do tests in Python that want a backend of that build in a process of their own.

They are built where `pip install .` built the package (build/package), whose engine they link, and
with the tools that built it: what is as it was then is not compiled again. Where there is no such
folder, or no ninja, it is build/cpp-tests; PYCAFFE_CLR_TEST_BUILD names another.
PYCAFFE_CLR_TEST_CMAKE_ARGS adds options for CMake.
"""

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tool(name: str) -> str | None:
    """Path of a build tool: from this Python's environment, activated or not, or the system's."""
    own = Path(sys.executable).parent / name
    return str(own) if own.is_file() else shutil.which(name)


def tool_of(folder: Path, entry: str, name: str) -> str | None:
    """The tool that a build folder was made with, if it is still there.

    Another version may write other commands, or another log of what is built, and all would be
    compiled again.
    """
    cache = folder / "CMakeCache.txt"
    if cache.is_file():
        found = re.search(rf"^{entry}:[A-Z]+=(.+)$", cache.read_text(), re.MULTILINE)
        if found and os.access(found[1], os.X_OK):
            return found[1]
    return tool(name)


def build_folder() -> Path:
    if chosen := os.environ.get("PYCAFFE_CLR_TEST_BUILD"):
        return Path(chosen)
    found = tool("ninja") and (ROOT / "build" / "package" / "build.ninja").exists()
    return ROOT / "build" / ("package" if found else "cpp-tests")


@dataclass(frozen=True)
class BackendTests:
    """Tests in Python, run on a backend of the build: pytest's, in a process of its own."""

    option: str  # of conftest.py, which takes the library
    library: str
    files: tuple[str, ...]
    chosen: str  # as pytest's -k says it
    cuda_host: str = ""  # the order of threads (csrc/backends/cuda/host/modes.h)

    def command(self, folder: Path) -> list[str]:
        files = [str(ROOT / "tests" / f"test_{name}.py") for name in self.files]
        library = str(folder / "tests" / "cpp" / self.library)
        options = ["-q", "-x", "-p", "no:cacheprovider", "-k", self.chosen, self.option, library]
        return [sys.executable, "-m", "pytest", *options, *files]


class CppTests:
    """Builds in threads of its own, and then runs the programs of these names, and these tests."""

    def __init__(self, jobs: Iterable[str | BackendTests] = ()) -> None:
        self._commands: set[subprocess.Popen[str]] = set()
        self._lock = None
        count = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(max_workers=count)
        self._built = self._pool.submit(self._build, count)
        # The longest first.
        ordered = sorted(jobs, key=brevity)
        self._ran = {job: self._pool.submit(self._run, job) for job in ordered}

    def folder(self) -> Path:
        """Folder of the build, once that is done; skips the test where nothing can be built."""
        return self._built.result()

    def output(self, job: str | BackendTests) -> str:
        """What that program, or those tests, wrote; the test fails as they do."""
        return self._ran[job].result()

    def stop(self) -> None:
        """Wait for no more than what runs to be ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for command in list(self._commands):
            command.terminate()
        self._pool.shutdown()
        if self._lock:
            self._lock.close()

    def _command(self, words: list[str], seconds: float | None = None, **environment: str) -> str:
        with subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
        ) as process:
            self._commands.add(process)
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
                said += f"\nended after {seconds} s"
            self._commands.discard(process)
        if process.returncode != 0:
            pytest.fail(f"{shlex.join(words)}\n{said[-40000:]}", False)
        return said

    def _build(self, jobs: int) -> Path:
        folder = build_folder()
        cmake = tool_of(folder, "CMAKE_COMMAND", "cmake")
        ninja = tool_of(folder, "CMAKE_MAKE_PROGRAM", "ninja")
        compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
        if cmake is None:
            pytest.skip("no cmake: pip install cmake")
        if compiler is None:
            pytest.skip("no C++ compiler: install g++, or set CXX")
        folder.mkdir(parents=True, exist_ok=True)
        # Two test runs at once in one checkout must not compile into each other.
        self._lock = open(folder / ".lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        configure = [cmake, "-S", str(ROOT), "-B", str(folder), "-DPYCAFFE_CLR_PYTHON=OFF"]
        configure += ["-DPYCAFFE_CLR_TESTS=ON", f"-DPython_EXECUTABLE={sys.executable}"]
        is_new = not (folder / "CMakeCache.txt").exists()
        if ninja and (is_new or (folder / "build.ninja").exists()):
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        self._command(configure + shlex.split(os.environ.get("PYCAFFE_CLR_TEST_CMAKE_ARGS", "")))
        self._command([cmake, "--build", str(folder), "--parallel", str(jobs)])
        return folder

    def _run(self, job: str | BackendTests) -> str:
        folder = self._built.result()
        if isinstance(job, BackendTests):
            return self._command(job.command(folder), 600, PYCAFFE_CLR_CUDA_HOST=job.cuda_host)
        ctest = tool("ctest")
        assert ctest is not None
        return self._command(
            [ctest, "--test-dir", str(folder), "--output-on-failure", "-R", f"^{job}$"]
        )


def brevity(job: str | BackendTests) -> int:
    """Larger for what takes less time."""
    return (
        0 if isinstance(job, BackendTests) else 1 if job.startswith(("test_cuda", "test_k")) else 2
    )
