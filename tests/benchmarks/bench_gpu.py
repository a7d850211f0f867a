"""Time one training step on a GPU, the project's against PyTorch's best, in turn, on the same net.

    python tests/benchmarks/bench_gpu.py
    python tests/benchmarks/bench_gpu.py --nets resnet56 --precisions bf16 --json gpu.json

A step is forward, backward and the update of SGD with momentum and weight decay. The project runs
as `pycaffe_clr run` does: a Data layer over an LMDB, the report's replicas with BatchNorm
statistics of their own. PyTorch keeps one batch on the GPU and normalises over the whole of it, as
its fast path does; it runs in channels_last with cudnn.benchmark and fused SGD, four ways:

    graph            eager, the whole step captured as one CUDA graph
    autotune-graph   torch.compile(mode="max-autotune-no-cudagraphs"), the whole step captured
    reduce-overhead  torch.compile(mode="reduce-overhead")
    max-autotune     torch.compile(mode="max-autotune")

bf16 is autocast over float32 weights, tf32 and fp32 are allow_tf32 on and off. Each side is a
process of its own, which is given up after --limit seconds: compiling has to fit. The project is
measured first, then each of PyTorch's ways, of which the fastest then takes turns with the project,
A B A B. The ratio is PyTorch's median over the project's: above 1 the project is faster. What does
not fit into --total seconds, shared out over nets and precisions, is left out. --prepare only
compiles, into the cache that TORCHINDUCTOR_CACHE_DIR names.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
# Also where PYTHONSAFEPATH keeps the script's folder out.
sys.path.insert(0, str(HERE))
# What is likely to be the fastest comes before what may not fit into the time.
WAYS = ("graph", "autotune-graph", "reduce-overhead", "max-autotune")
PRECISIONS = ("bf16", "tf32", "fp32")
# shape: (N, C, H, W) of each replica.
NETS = {
    "resnet56": {"shape": (128, 3, 32, 32), "replicas": 4},
    "wide32": {"shape": (128, 3, 32, 32), "replicas": 4},
    "densenet40": {"shape": (64, 3, 32, 32), "replicas": 4},
    "lenet": {"shape": (512, 1, 28, 28), "replicas": 1},
    "cifar3": {"shape": (128, 3, 32, 32), "replicas": 1},
    "resnet50": {"shape": (64, 3, 230, 230), "replicas": 1},
}
LR, MOMENTUM, WEIGHT_DECAY = 0.001, 0.9, 1e-4
WARMUP, CHUNKS = 8, 5


def images(args: argparse.Namespace, net: str) -> int:
    """Images of a step."""
    spec = NETS[net]
    return (args.batch or spec["shape"][0]) * spec["replicas"]


def timed(steps: Callable[[int], None], sync: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds a step, of CHUNKS stretches that share `seconds`. steps(n) makes n of them."""
    steps(WARMUP)
    sync()
    start = time.perf_counter()
    steps(2)
    sync()
    count = max(1, int(seconds / CHUNKS / ((time.perf_counter() - start) / 2)))
    times = []
    for _ in range(CHUNKS):
        start = time.perf_counter()
        steps(count)
        sync()
        times.append(1e3 * (time.perf_counter() - start) / count)
    return times


# --- PyTorch ---------------------------------------------------------------------------------


def torch_worker(args: argparse.Namespace, net: str, precision: str, way: str) -> dict:
    """Times of one of PyTorch's ways."""
    import torch
    import torch_nets

    device = torch.device(args.torch_device)
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    shape = (images(args, net), *NETS[net]["shape"][1:])
    model = torch_nets.NETS[net]().to(device, memory_format=torch.channels_last)
    pictures = torch.rand(shape, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, shape[:1], device=device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
    )

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            scores = model(x)
        return torch.nn.functional.cross_entropy(scores.float(), y)

    modes = {
        "reduce-overhead": "reduce-overhead",
        "max-autotune": "max-autotune",
        "autotune-graph": "max-autotune-no-cudagraphs",
    }
    loss = torch.compile(loss_of, mode=modes[way]) if way in modes else loss_of

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(pictures, labels).backward()
        optimizer.step()

    cuda = device.type == "cuda"
    sync = torch.cuda.synchronize if cuda else lambda: None
    if cuda and way.endswith("graph"):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            loss(pictures, labels).backward()
            optimizer.step()
        step = graph.replay

    def steps(count: int) -> None:
        for _ in range(count):
            step()

    steps(1)
    sync()
    if args.prepare:
        return {"problem": "compiled", "version": torch.__version__}
    times = timed(steps, sync, args.seconds)
    name = torch.cuda.get_device_name() if cuda else "cpu"
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    return {"ms": times, "version": torch.__version__, "device": name, "bytes": peak}


# --- the project -----------------------------------------------------------------------------


def project_worker(args: argparse.Namespace, net: str, precision: str, way: str) -> dict:
    """Times of the project."""
    import caffe_nets

    from pycaffe_clr.engine import ready_core
    from pycaffe_clr.prototxt import read_solver
    from pycaffe_clr.train.session import Session

    core = ready_core()
    if args.cuda_host:
        ctypes.CDLL(args.cuda_host).register_cuda_host_backend()
    spec = NETS[net]
    shape = (args.batch or spec["shape"][0], *spec["shape"][1:])
    with tempfile.TemporaryDirectory() as folder:
        path = caffe_nets.write_solver(Path(folder), net, shape, "data", LR, MOMENTUM, WEIGHT_DECAY)
        session = Session(
            read_solver(path),
            path=path,
            device=args.device,
            precision=precision,
            replicas=spec["replicas"],
        )
        output = session.net.outputs()[0]
        times = timed(session.step, lambda: session.net.read(output), args.seconds)
    names, _ = core.devices(session.net.backend)
    return {
        "ms": times,
        "version": core.version(),
        "device": names[0],
        "bytes": session.net.memory_bytes,
    }


# --- the turns -------------------------------------------------------------------------------


def run_worker(args: argparse.Namespace, side: str, net: str, precision: str, way: str) -> dict:
    """What one worker process measured, or {"problem": why not}."""
    limit = min(args.limit, args.end - time.monotonic())
    if limit < 1:
        return {"problem": "no time was left"}
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", side, "--way", way]
    command += ["--nets", net, "--precisions", precision, "--seconds", str(args.seconds)]
    command += ["--device", args.device, "--torch-device", args.torch_device]
    command += ["--prepare"] if args.prepare else []
    for name, value in (("--batch", args.batch), ("--cuda-host", args.cuda_host)):
        command += [name, str(value)] if value else []
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"problem": f"not done in {limit:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"problem": lines[-1] if lines else f"exit {done.returncode}"}
    result: dict = json.loads(done.stdout.splitlines()[-1])
    return {**result, "process_seconds": time.perf_counter() - start}


def line(name: str, runs: Sequence[dict], count: int) -> str:
    """One row: median and spread of the chunks, images a second."""
    good = [ms for run in runs for ms in run.get("ms", [])]
    if not good:
        return f"  {name:<24} {runs[0].get('problem', '')[:90]}"
    middle = median(good)
    return (
        f"  {name:<24} {middle:9.3f} ms ({min(good):.3f} to {max(good):.3f})"
        f" {1e3 * count / middle:12,.0f} images/s"
    )


def bench(args: argparse.Namespace, net: str, precision: str) -> dict:
    """Measure one net in one precision and print its table; the figures."""
    count = images(args, net)
    print(f"{net}, {precision}, {count} images a step", flush=True)
    ours = [] if args.prepare else [run_worker(args, "project", net, precision, "")]
    if ours:
        print(line("project", ours, count), flush=True)
    survey = {}
    if not args.only_project:
        for way in args.ways:
            survey[way] = run_worker(args, "torch", net, precision, way)
            print(line(f"PyTorch {way}", [survey[way]], count), flush=True)
    timed_ways = {way: median(run["ms"]) for way, run in survey.items() if "ms" in run}
    best = min(timed_ways, key=lambda way: timed_ways[way]) if timed_ways else None
    result = {"net": net, "precision": precision, "images": count, "survey": survey, "best": best}
    if args.prepare:
        return result
    theirs = [survey[best]] if best else []
    for _ in range(args.rounds - 1):
        ours.append(run_worker(args, "project", net, precision, ""))
        if best is not None:
            theirs.append(run_worker(args, "torch", net, precision, best))
    if args.rounds > 1:
        print(line("project, its turns", ours, count), flush=True)
    result.update(project=ours, torch=theirs)
    mine = [ms for run in ours for ms in run.get("ms", [])]
    other = [ms for run in theirs for ms in run.get("ms", [])]
    if mine and other:
        print(line(f"PyTorch {best}, its turns", theirs, count))
        result["ratio"] = median(other) / median(mine)
        print(f"  ratio {result['ratio']:.2f}", flush=True)
    return result


def main(words: Sequence[str] | None = None) -> int:
    """Entry; words: by default those of the command line. 1 where the project failed anywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    add("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of PyTorch")
    add("--batch", type=int, help="samples of each replica, of all nets")
    add("--seconds", type=float, default=1.0, help="timed a process")
    add("--limit", type=float, default=120, help="seconds for a process, compiling included")
    add("--total", type=float, default=float("inf"), help="seconds for all")
    add("--rounds", type=int, default=3, help="turns of project and PyTorch")
    add("--device", default="cuda", help="the project's")
    add("--torch-device", default="cuda", help="cpu: to try this script")
    add("--cuda-host", metavar="LIBRARY", help="device cuda_host: to try this script")
    add("--only-project", action="store_true", help="without PyTorch")
    add("--prepare", action="store_true", help="compile PyTorch's ways, measure nothing")
    add("--json", type=Path, help="append every net's figures to this file, one a line")
    add("--worker", choices=("torch", "project"), help=argparse.SUPPRESS)
    add("--way", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.worker:
        worker = {"torch": torch_worker, "project": project_worker}[args.worker]
        print(json.dumps(worker(args, args.nets[0], args.precisions[0], args.way)))
        return 0
    failed = False
    ratios = []
    begin = time.monotonic()
    cases = [(net, precision) for net in args.nets for precision in args.precisions]
    for number, (net, precision) in enumerate(cases):
        args.end = begin + args.total * (number + 1) / len(cases)
        result = bench(args, net, precision)
        failed |= not args.prepare and not any("ms" in run for run in result["project"])
        if "ratio" in result:
            ratios.append(f"{net} {precision} {result['ratio']:.2f}")
        if args.json:
            with args.json.open("a") as file:
                file.write(json.dumps(result) + "\n")
    if ratios:
        print(f"PyTorch's time over the project's: {', '.join(ratios)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
