"""The C++ tests, which cpp_build.py builds and runs."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from cpp_build import ROOT, CppTests

NAMES = sorted(path.stem for path in (ROOT / "tests" / "cpp").glob("test_*.cpp"))


@pytest.mark.parametrize("job", NAMES)
def test_cpp(build: Path, cpp_tests: CppTests, job: str) -> None:
    if "No tests were found" in cpp_tests.output(job):
        pytest.fail(f"{job} is not among the tests of {build}")


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
