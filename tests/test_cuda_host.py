"""The CUDA backend, its kernels run on the host thread by thread: Caffe's layers, precisions."""

from pathlib import Path

import pytest
from cpp_build import BackendTests, CppTests


def on_the_host(chosen: str, *files: str, modes: str = "") -> BackendTests:
    return BackendTests("--cuda-host", "libpcc_cuda_host.so", files, chosen, modes)


# Of every rule, of clipping and of parts of an iteration; other runs are of the same ops.
RUNS = "first_iterations or (training_goes and kernels-2) or cuda_training or cuda_prologue"
# Every device means this backend there: one name stands for all.
LAYERS = "kernels or fork_layers"
JOBS = {
    "runs": on_the_host(
        RUNS, "cuda_training", "cuda_prologue", "golden_trajectories", "replicas", modes="late"
    ),
    "each precision trains": on_the_host("precision and not cpu", "precision"),
    "tables of a step": on_the_host("cuda_backend", "gpu_commands"),
} | {
    # Orders of threads and of blocks, and when a stream does its work: the results must not know.
    f"layers are Caffe's, {modes}": on_the_host(LAYERS, "golden_layers", "fork_layers", modes=modes)
    for modes in ("forward", "reversed,late", "shuffled,late")
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_on_the_host(build: Path, cpp_tests: CppTests, job: BackendTests) -> None:
    assert " passed" in cpp_tests.output(job)
