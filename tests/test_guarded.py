"""The engine in memory that the host cannot reach: golden data, views, snapshots, replicas.

Any access to a net's memory but by an op, or by the device's own copies, ends the process.
"""

from pathlib import Path

import pytest
from cpp_build import BackendTests, CppTests

FILES = (
    "feeds",
    "golden_layers",
    "golden_trajectories",
    "pycaffe_net",
    "prepared",
    "pycaffe_param",
    "replicas",
    "weights",
)
# The long trajectories are of the same ops and rules as the short ones.
SHORT = "not (cifar3 or resnet56 or deterministic or double)"
NETS = BackendTests("--guarded", "libpcc_guarded.so", FILES, SHORT)


@pytest.mark.parametrize("job", [pytest.param(NETS, id="nets")])
def test_in_guarded_memory(build: Path, cpp_tests: CppTests, job: BackendTests) -> None:
    assert " passed" in cpp_tests.output(job)
