"""What a card reaches: a long copy, and large products in each precision, by PyTorch.

python tests/gpu/ceilings.py [cpu]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import torch


def seconds(work: Callable[[], object], cuda: bool, times: int = 10) -> float:
    """Median of a call's time, after three of them."""
    taken = []
    for i in range(times + 3):
        start = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
        if i >= 3:
            taken.append(time.perf_counter() - start)
    return median(taken)


def main(device: str = "cuda") -> int:
    cuda = device == "cuda"
    count, side = (1 << 30, 8192) if cuda else (1 << 20, 256)
    numbers = [torch.rand(count, device=device), torch.empty(count, device=device)]
    taken = seconds(lambda: numbers[1].copy_(numbers[0]), cuda)
    print(f"copy: {8 * count / taken / 1e9:.0f} GB/s, read and written")
    numbers.clear()
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    for precision in ("bf16", "tf32", "fp32"):
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        x, y = (a.bfloat16(), b.bfloat16()) if precision == "bf16" else (a, b)
        taken = seconds(lambda x=x, y=y: x @ y, cuda)
        print(f"{precision} product of {side}: {2 * side**3 / taken / 1e12:.1f} TFLOP/s")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
