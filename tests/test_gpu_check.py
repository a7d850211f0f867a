"""tests/gpu/check.sh, its parts tried on the CUDA backend's host."""

import json
import os
import subprocess
import sys
from pathlib import Path

CHECK = Path(__file__).parent / "gpu" / "check.sh"
PARTS = ["smoke", "repeat", "ranks", "plans", "train-lenet_sample-bf16-1"]


def test_parts_run_and_leave_what_they_found(build: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    library = build / "tests" / "cpp" / "libpcc_cuda_host.so"
    command = ["bash", CHECK, "--out", out, "--host", library, "--minutes", "2"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*map(str, command), "--only", ",".join(PARTS)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    rows = [json.loads(line) for line in (out / "parts.jsonl").read_text().splitlines()]
    # Some go on beside the others.
    assert sorted(row["part"] for row in rows) == sorted(PARTS), done.stdout + done.stderr
    assert all(row["status"] == 0 for row in rows), rows
    assert "lenet_sample-bf16-1              finished   iteration 3" in done.stdout
    found = {path.name for path in out.iterdir()}
    assert found == {"parts.jsonl", "summary.txt", "logs.tar.gz", "runs.tar.gz.00"}
