"""What check.sh writes of its parts: a line of JSON for one, and a page for all.

python tests/gpu/summary.py part NAME STATUS SECONDS LIMIT LOG
python tests/gpu/summary.py all PARTS_JSONL WORK
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# Bytes of a log that are kept: its beginning and its end.
HEAD, TAIL = 200_000, 700_000


def part(name: str, status: str, seconds: str, limit: str, log: str) -> None:
    """Print the line of a part, and cut its log."""
    path = Path(log)
    said = path.read_bytes()
    if len(said) > HEAD + TAIL:
        path.write_bytes(said[:HEAD] + b"\n[...]\n" + said[-TAIL:])
    lines = [line for line in said[-20_000:].decode(errors="replace").splitlines() if line.strip()]
    row = {
        "part": name,
        "status": int(status),
        "seconds": int(seconds),
        "limit": int(limit),
        "timed_out": status in ("124", "137"),
        "last": lines[-1][-300:] if lines else "",
    }
    print(json.dumps(row))


def run_line(folder: Path) -> str:
    """One row of a run's results."""
    from pycaffe_clr import read_run

    run = read_run(folder)
    return (
        f"{folder.name:<32} {run.state:<10} iteration {run.iteration}, accuracy "
        f"{run.final_accuracy:.4f}, {run.seconds:.1f} s, {run.images_per_second:,.0f} images/s"
    )


def everything(parts: str, work: str) -> None:
    """Print what a reader wants first: parts, runs, the benchmark."""
    for line in Path(parts).read_text().splitlines():
        row = json.loads(line)
        if "skipped" in row:
            print(f"{row['part']:<32} skipped: {row['skipped']}")
            continue
        state = "ok" if row["status"] == 0 else "TIME" if row["timed_out"] else "FAILED"
        print(f"{row['part']:<32} {state:<7} {row['seconds']:4d} s  {row['last'][:90]}")
    for record in sorted(Path(work).glob("runs/*/run.json")):
        print(run_line(record.parent))
    bench = Path(work) / "logs" / "bench.jsonl"
    for line in bench.read_text().splitlines() if bench.is_file() else []:
        row = json.loads(line)
        if "ratio" in row:
            print(f"{row['net']} {row['precision']}: {row['ratio']:.2f} of PyTorch's {row['best']}")


if __name__ == "__main__":
    {"part": part, "all": everything}[sys.argv[1]](*sys.argv[2:])
