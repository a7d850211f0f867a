"""The CUDA backend, its kernels run on the host thread by thread: Caffe's layers, precisions."""

from pathlib import Path

import pytest
from test_guarded import run_tests

# Orders of threads and of blocks, and when a stream does its work: the results must not know.
MODES = ["forward", "reversed,late", "shuffled,late"]


def test_each_precision_trains(build: Path) -> None:
    library = build / "tests" / "cpp" / "libpcc_cuda_host.so"
    run_tests(["precision"], "precision and not cpu", "--cuda-host", str(library), seconds=120)


def test_tables_of_a_step(build: Path) -> None:
    library = build / "tests" / "cpp" / "libpcc_cuda_host.so"
    run_tests(["gpu_commands"], "cuda_backend", "--cuda-host", str(library))


# Of every rule, of clipping and of parts of an iteration; other runs are of the same ops.
RUNS = "first_iterations or (training_goes and kernels-2) or cuda_training"


def test_runs(build: Path) -> None:
    library = build / "tests" / "cpp" / "libpcc_cuda_host.so"
    run_tests(
        ["cuda_training", "golden_trajectories", "replicas"],
        RUNS,
        "--cuda-host",
        str(library),
        PYCAFFE_CLR_CUDA_HOST="late",
    )


@pytest.mark.parametrize("modes", MODES)
def test_layers_are_caffes(build: Path, modes: str) -> None:
    library = build / "tests" / "cpp" / "libpcc_cuda_host.so"
    # Every device means this backend there: one name stands for all.
    run_tests(
        ["golden_layers", "fork_layers"],
        "kernels or fork_layers",
        "--cuda-host",
        str(library),
        seconds=300,
        PYCAFFE_CLR_CUDA_HOST=modes,
    )
