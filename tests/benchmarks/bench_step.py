"""Time one training step, or a forward pass, of the project and of PyTorch, in turn, on one net.

    python tests/benchmarks/bench_step.py --torch-python /path/to/venv/bin/python
    python tests/benchmarks/bench_step.py --nets lenet --rounds 5 --json step.json
    python tests/benchmarks/bench_step.py --nets densenet40 --batch 32 --steps 3
    python tests/benchmarks/bench_step.py --nets alexnet googlenet resnet50 lstm --pass forward
    python tests/benchmarks/bench_step.py --only-torch

A step is forward, backward and the SGD update with momentum and weight decay, in float32; --pass
forward: the net in its TEST phase, loss included, PyTorch's in eval mode without gradients. The
nets are LeNet at batch 512, the report's 3-layer net, ResNet-56, wide ResNet-32 and DenseNet-40 at
batch 128 (DenseNet-40: 64, for its memory), on random pictures of ImageNet's size its ResNet-50 at
batch 8, AlexNet at 32 and GoogLeNet at 16, and an LSTM of 1000 units over 20 steps of 16 sequences;
--batch sets another for all. Each worker is a process of its own that warms up, times every step
and prints its median and its peak memory. PyTorch runs as NCHW, as channels_last and compiled (both
layouts); the fastest of these then takes turns with the project, A B A B, so that a drifting clock
hits both. The ratio is PyTorch's median over the project's: above 1 the project is faster. The
project reads its pictures through a Data layer from an LMDB (--feed dummy: without one), PyTorch
keeps one batch in memory: reading counts against the project only.

The two sides may live in different environments: --torch-python and --project-python name the
interpreters (default: the one that runs this script).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
# Also where PYTHONSAFEPATH keeps the script's folder out.
sys.path.insert(0, str(HERE))
TORCH_VARIANTS = ("nchw", "channels_last", "compile_nchw", "compile_channels_last")
# shape: (N, C, H, W), of sequences (T, N, D). steps: timed per process, after the warm-up.
NETS: dict[str, dict] = {
    "lenet": {"shape": (512, 1, 28, 28), "warmup": 10, "steps": 30},
    "cifar3": {"shape": (128, 3, 32, 32), "warmup": 8, "steps": 30},
    "resnet56": {"shape": (128, 3, 32, 32), "warmup": 4, "steps": 10},
    "wide32": {"shape": (128, 3, 32, 32), "warmup": 3, "steps": 6},
    "densenet40": {"shape": (64, 3, 32, 32), "warmup": 3, "steps": 6},
    "resnet50": {"shape": (8, 3, 230, 230), "warmup": 2, "steps": 5},
    "alexnet": {"shape": (32, 3, 227, 227), "warmup": 3, "steps": 8},
    "googlenet": {"shape": (16, 3, 224, 224), "warmup": 3, "steps": 6},
    "lstm": {"shape": (20, 16, 1000), "warmup": 5, "steps": 20},
}
LR, MOMENTUM, WEIGHT_DECAY = 0.001, 0.9, 1e-4


def settings(args: argparse.Namespace, net: str | None = None) -> dict:
    """Shape, warm-up and steps of a net, by default the first one, as the command line has them."""
    spec = dict(NETS[net or args.nets[0]])
    if args.batch is not None:
        spec["shape"] = (args.batch, *spec["shape"][1:])
    for name in ("warmup", "steps"):
        if getattr(args, name) is not None:
            spec[name] = getattr(args, name)
    return spec


def processor() -> str:
    """Name of the processor, as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def peak_mib() -> float:
    """Peak resident memory of this whole process in MiB.

    VmHWM rather than getrusage's ru_maxrss: the latter starts at the parent's size after a fork.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


class Times(NamedTuple):
    """Of calls: seconds of each, and of the processor in one, all threads together."""

    seconds: list[float]
    cpu: float


def timed(step: Callable[[], object], warmup: int, steps: int) -> Times:
    """Times of `steps` calls, after `warmup` untimed ones."""
    for _ in range(warmup):
        step()
    seconds = []
    busy = time.process_time()
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return Times(seconds, (time.process_time() - busy) / steps)


# --- PyTorch ---------------------------------------------------------------------------------


def torch_worker(args: argparse.Namespace, variant: str) -> tuple[Times, str]:
    """Step times of one PyTorch variant, and the version of PyTorch."""
    import torch
    import torch_nets

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    spec = settings(args)
    training = args.pass_ == "step"
    net = torch_nets.NETS[args.nets[0]]().train(training)
    images = torch.randn(spec["shape"])
    sequences = len(spec["shape"]) == 3
    labels = torch.randint(0, 10, spec["shape"][:2] if sequences else spec["shape"][:1]).flatten()
    if variant.endswith("channels_last"):
        net = net.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch_nets.loss(net, x, y)

    loss = torch.compile(loss_of) if variant.startswith("compile") else loss_of
    optimizer = torch.optim.SGD(
        net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
    )

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(images, labels).backward()
        optimizer.step()

    def forward() -> None:
        loss(images, labels)

    with torch.set_grad_enabled(training):
        times = timed(step if training else forward, spec["warmup"], spec["steps"])
    return times, f"PyTorch {torch.__version__}"


# --- the project -----------------------------------------------------------------------------


def project_worker(args: argparse.Namespace, variant: str) -> tuple[Times, str]:
    """Times of the project as `pycaffe_clr run` trains and tests; `variant`: 'data' or 'dummy'."""
    import caffe_nets

    from pycaffe_clr.engine import build_net
    from pycaffe_clr.prototxt import read_net, read_solver
    from pycaffe_clr.train.session import Session

    spec = settings(args)
    with tempfile.TemporaryDirectory() as folder:
        path = caffe_nets.write_solver(
            Path(folder), args.nets[0], spec["shape"], variant, LR, MOMENTUM, WEIGHT_DECAY
        )
        if args.pass_ == "step":
            session = Session(read_solver(path), path=path)
            times = timed(lambda: session.step(1), spec["warmup"], spec["steps"])
        else:
            net, _ = build_net(read_net(path.with_name("net.prototxt")), phase=1, fuse=True)
            times = timed(net.forward, spec["warmup"], spec["steps"])
    try:
        version = metadata.version("pycaffe_clr")
    except metadata.PackageNotFoundError:  # a source tree on PYTHONPATH
        version = "(source tree)"
    return times, f"pycaffe_clr {version}"


# --- the turns -------------------------------------------------------------------------------


def run_worker(args: argparse.Namespace, side: str, net: str, variant: str) -> dict:
    """Run one worker process; its times in ms, peak MiB and version."""
    python = args.torch_python if side == "torch" else args.project_python
    threads = str(args.threads)
    # The project's own threads come from OpenMP's count as well.
    env = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    command = [python, str(Path(__file__).resolve()), "--worker", side, "--nets", net]
    command += ["--variant", variant, "--threads", threads, "--pass", args.pass_]
    for name in ("batch", "warmup", "steps"):
        if getattr(args, name) is not None:
            command += [f"--{name}", str(getattr(args, name))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} {variant} on {net} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def worker_main(args: argparse.Namespace) -> int:
    """Entry of a worker process: one JSON line on standard output."""
    worker = {"torch": torch_worker, "project": project_worker}[args.worker]
    times, version = worker(args, args.variant)
    ms = [1e3 * t for t in times.seconds]
    figures = {"ms": ms, "cpu_ms": 1e3 * times.cpu, "peak_mib": peak_mib(), "version": version}
    print(json.dumps(figures))
    return 0


def line(name: str, runs: list[dict]) -> str:
    """One row of the table: median and fastest step, spread of the runs' medians, the processor's
    time in a step (which other programs disturb least), memory."""
    steps = [ms for run in runs for ms in run["ms"]]
    medians = sorted(median(run["ms"]) for run in runs)
    peak = max(run["peak_mib"] for run in runs)
    return (
        f"  {name:30s} median {median(steps):8.1f} ms  min {min(steps):8.1f} ms"
        f"  runs {medians[0]:.1f}-{medians[-1]:.1f} ms"
        f"  cpu {median(run['cpu_ms'] for run in runs):8.1f} ms  peak {peak:6.0f} MiB"
    )


def bench_net(net: str, args: argparse.Namespace) -> dict:
    """Measure one net and print its table; returns the figures."""
    shape = "x".join(map(str, settings(args, net)["shape"]))
    print(f"{net}, {args.pass_}, batch {shape}, {args.threads} threads")
    survey = {}
    if args.only_project:
        runs = [run_worker(args, "project", net, args.feed) for _ in range(args.rounds)]
        print(line(f"project, feed {args.feed}", runs), flush=True)
        return {"net": net, "project": runs}
    layouts = len(settings(args, net)["shape"]) == 4  # of sequences there is but one
    for variant in args.variants:
        if variant.endswith("channels_last") and not layouts:
            continue
        survey[variant] = [run_worker(args, "torch", net, variant)]
        print(line(f"PyTorch {variant}", survey[variant]), flush=True)
    best = min(survey, key=lambda v: median(survey[v][0]["ms"]))
    result: dict = {"net": net, "survey": survey, "best": best}
    if args.only_torch:
        return result
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(run_worker(args, "project", net, args.feed))
        theirs.append(run_worker(args, "torch", net, best))
    other = "dummy" if args.feed == "data" else "data"
    aside = [run_worker(args, "project", net, other)]
    print(line(f"project, feed {args.feed}", ours))
    print(line(f"project, feed {other}, aside", aside))
    print(line(f"PyTorch {best}, its turns", theirs))
    ratios = [median(t["ms"]) / median(o["ms"]) for o, t in zip(ours, theirs, strict=True)]
    whole = median(ms for t in theirs for ms in t["ms"]) / median(
        ms for o in ours for ms in o["ms"]
    )
    cpu = median(t["cpu_ms"] for t in theirs) / median(o["cpu_ms"] for o in ours)
    memory = max(o["peak_mib"] for o in ours) / max(t["peak_mib"] for t in theirs)
    print(
        f"  ratio {whole:.2f}x ({', '.join(f'{r:.2f}' for r in ratios)} round by round);"
        f" of cpu time {cpu:.2f}x; memory {memory:.2f} of PyTorch's",
        flush=True,
    )
    result.update(
        project=ours,
        other_feed=aside,
        torch=theirs,
        ratio=whole,
        round_ratios=ratios,
        cpu_ratio=cpu,
        memory=memory,
    )
    return result


def main(words: Sequence[str] | None = None) -> int:
    """Entry; words: by default those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", choices=sorted(NETS), default=["resnet56", "lenet"])
    parser.add_argument("--variants", nargs="+", choices=TORCH_VARIANTS, default=TORCH_VARIANTS)
    parser.add_argument("--pass", dest="pass_", choices=("step", "forward"), default="step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="samples a step, of all nets")
    parser.add_argument("--warmup", type=int, help="untimed steps a process")
    parser.add_argument("--steps", type=int, help="timed steps a process")
    parser.add_argument("--rounds", type=int, default=3, help="turns of project and PyTorch")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--project-python", default=sys.executable)
    parser.add_argument("--feed", choices=("data", "dummy"), default="data", help="see caffe_nets")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--only-torch", action="store_true", help="PyTorch's variants alone")
    alone.add_argument("--only-project", action="store_true", help="without PyTorch")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--worker", choices=("torch", "project"), help=argparse.SUPPRESS)
    parser.add_argument("--variant", default="nchw", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.worker:
        return worker_main(args)
    print(f"processor: {processor()}; load {os.getloadavg()[0]:.2f} at the start")
    results = [bench_net(net, args) for net in args.nets]
    if args.json:
        args.json.write_text(json.dumps({"processor": processor(), "nets": results}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
