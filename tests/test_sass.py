"""The machine code of the CUDA backend's kernels, where the package has it, and a tool reads it."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pycaffe_clr

MODULE = Path(pycaffe_clr.__file__).parent / "libpycaffe_clr_cuda.so"
ARCHITECTURES = ["sm_80", "sm_90"]

# What the hot kernels are made of, by words of their mangled names: products by the tensor cores,
# copies to shared memory that go on meanwhile, and matrices from there by whole warps.
BF16, TF32 = "HMMA.16816.F32.BF16", "HMMA.1688.F32.TF32"
KERNELS = {
    ("convolve", "Bf16ELi3ELi8"): [BF16, "LDGSTS.E.BYPASS.128", "LDSM.16.M88.4"],
    ("convolve", "Tf32ELi3ELi8"): [TF32, "LDGSTS.E.BYPASS.128", "LDSM.16.M88.4"],
    ("sum_weights", "Bf16ELi3"): [BF16, "LDGSTS.E.BYPASS.128", "LDSM.16.MT88.4"],
    ("sum_weights", "Tf32ELi3"): [TF32, "LDGSTS.E.BYPASS.128"],
    ("multiply_tiles_tensor", "Bf16"): [BF16],
    ("multiply_tiles_tensor", "Tf32"): [TF32],
    # Sixteen bytes at a time.
    ("sum_share_of_lines", "BackwardSums", "BFloat16ELi8"): ["LDG.E.128"],
    ("each_line", "Backward", "BFloat16ELi8"): ["LDG.E.128", "STG.E.128"],
}

# Behind its address and what it depends on.
OPERATION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9.]+)")


def cuobjdump() -> str | None:
    """CUDA's tool, that of a toolkit or that of the wheel of triton."""
    found = shutil.which("cuobjdump")
    if found is None and (triton := importlib.util.find_spec("triton")) and triton.origin:
        found = shutil.which(Path(triton.origin).parent / "backends" / "nvidia" / "bin/cuobjdump")
    return found


def read(*options: str) -> str:
    """What it says of the module."""
    tool = cuobjdump()
    if not MODULE.exists() or tool is None:
        pytest.skip("needs the CUDA backend's module, and cuobjdump")
    path = f"{Path(tool).parent}{os.pathsep}{os.environ['PATH']}"  # nvdisasm lies beside it
    return subprocess.run(
        [tool, *options, str(MODULE)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def usages() -> list[tuple[str, str]]:
    """Each kernel's mangled name, and what it uses, for each architecture."""
    return re.findall(r"Function (\w+):\s+(REG:.*)", read("-res-usage"))


def test_kernels_keep_what_they_work_on_in_registers() -> None:
    found = usages()
    assert len(found) > 100
    # Double's sine has a table in memory: data.cu.
    in_memory = {
        name
        for name, usage in found
        if not re.search(r"STACK:0 .*LOCAL:0 ", usage) and "_data_cu_" not in name
    }
    assert not in_memory


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hot_kernels_are_made_of_the_instructions_that_were_meant(architecture: str) -> None:
    names = sorted({name for name, _ in usages()})
    # One of each kind: all of them would be a hundred megabytes.
    wanted = {
        next(name for name in names if all(word in name for word in words)): instructions
        for words, instructions in KERNELS.items()
    }
    text = read("-sass", "-arch", architecture, "-fun", ",".join(wanted))
    code = dict(re.findall(r"Function : (\w+)\n(.*?)(?=Function : |\Z)", text, re.DOTALL))
    assert code.keys() == wanted.keys()
    for name, instructions in wanted.items():
        used = set(OPERATION.findall(code[name]))
        assert used.issuperset(instructions), name
        assert not used & {"LDL", "STL"}, name
