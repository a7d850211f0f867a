"""The report's LeNet run in PyTorch: the yardstick for the project's own runs.

    python tests/benchmarks/lenet_peer.py --type Nesterov --seed 1 --data mnist --out logs

Caffe's LeNet on MNIST by the report's Table 2: 1cycle 0.01-0.1 with a stepsize of 5 epochs,
momentum 0.95-0.8, weight decay 5e-4, total batch 512, 12 epochs. Fillers, lr_mult, decay_mult,
input scale, data order and update rules are Caffe's; only the random numbers are PyTorch's. With
one batch of 512 there is nothing for the four replicas to do differently: LeNet has no BatchNorm.

--data names a folder with the four idx files as their makers publish them (plain or .gz).
Leaves NAME.csv (iteration, lr, momentum, loss, test accuracy) and NAME.json in --out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

TRAIN_SIZE = 60_000


@dataclass(frozen=True)
class Recipe:
    """Settings of one run; epochs are turned into iterations by cutting off, as the author did."""

    type: str = "Nesterov"
    seed: int = 1
    base_lr: float = 0.01
    max_lr: float = 0.1
    momentum: float = 0.95
    min_momentum: float = 0.8
    weight_decay: float = 5e-4
    batch: int = 512
    epochs: float = 12.0
    step_epochs: float = 5.0
    scale: float = 1 / 256
    test_interval: int = 100

    @property
    def max_iter(self) -> int:
        return int(self.epochs * TRAIN_SIZE / self.batch)

    @property
    def stepsize(self) -> int:
        return int(self.step_epochs * TRAIN_SIZE / self.batch)


@dataclass
class Result:
    """What a run left: the accuracies are in percent of the whole test set."""

    recipe: Recipe
    final_accuracy: float = 0.0
    best_accuracy: float = 0.0
    diverged: bool = False
    seconds: float = 0.0
    torch_version: str = torch.__version__
    threads: int = 1
    rows: list[dict[str, float]] = field(default_factory=list)


def one_cycle(iteration: int, base_lr: float, max_lr: float, stepsize: int) -> float:
    """Learning rate of the report's 1cycle policy: up, down towards zero, then base_lr / 1000.

    Float32 and double mixed as in the author's solver, so that its log lines come out equal.
    """
    base, top = np.float32(base_lr), np.float32(max_lr)
    x = np.float32(iteration) / np.float32(stepsize)
    if iteration >= 2 * stepsize:
        return float(np.float32(float(base) / 1000))
    if iteration < stepsize:
        return float(np.float32(float(base) + float(top - base) * float(x)))
    return float(np.float32(float(top) * (2 - float(x))))


def cyclical_momentum(iteration: int, start: float, end: float, stepsize: int) -> float:
    """Momentum from start to end and back; the height halves with each cycle (report, appendix)."""
    cycle = iteration // (2 * stepsize)
    x = abs(float(np.float32(iteration) / np.float32(stepsize)) - (2 * cycle + 1))
    return start + (end - start) * max(0.0, 1 - x) / 2**cycle


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The uint8 array in an idx file, plain or .gz. Raises FileNotFoundError if it is missing."""
    path = folder / name
    packed = path.with_name(name + ".gz")
    raw = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", axes, 4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def load(folder: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (n, 28, 28, 1) uint8 and labels (n,) int64 of 'train' or 't10k', in file order."""
    images = read_idx(folder, f"{split}-images-idx3-ubyte")[..., None]
    labels = read_idx(folder, f"{split}-labels-idx1-ubyte")
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


class LeNet:
    """Caffe's LeNet as a list of weight, bias, weight, bias, ... in the order of its layers."""

    SHAPES = ((20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500))

    def __init__(self) -> None:
        self.params: list[torch.Tensor] = []
        for shape in self.SHAPES:
            bound = math.sqrt(3 / math.prod(shape[1:]))  # Caffe's xavier: fan_in alone
            weight = (torch.rand(shape) * 2 - 1) * bound
            if len(shape) == 4:
                weight = weight.contiguous(memory_format=torch.channels_last)
            self.params += [weight.requires_grad_(), torch.zeros(shape[0]).requires_grad_()]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        w = self.params
        x = F.max_pool2d(F.conv2d(x, w[0], w[1]), 2)
        x = F.max_pool2d(F.conv2d(x, w[2], w[3]), 2).contiguous().flatten(1)
        return F.linear(F.relu(F.linear(x, w[4], w[5])), w[6], w[7])


class Updater:
    """Caffe's SGD and Nesterov rules with lr_mult 1 for weights and 2 for biases.

    Weight decay enters the gradient of every parameter (decay_mult 1, biases included).
    """

    def __init__(self, params: list[torch.Tensor], recipe: Recipe) -> None:
        self.params = params
        self.recipe = recipe
        self.history = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def update(self, grads: tuple[torch.Tensor, ...], lr: float, momentum: float) -> None:
        for i, (p, grad, h) in enumerate(zip(self.params, grads, self.history, strict=True)):
            rate = lr * (2 if i % 2 else 1)
            grad = grad + self.recipe.weight_decay * p
            if self.recipe.type == "Nesterov":
                # step = (1 + m) * history - m * previous history, in place
                p.add_(h, alpha=momentum)
                h.mul_(momentum).add_(grad, alpha=rate)
                p.sub_(h, alpha=1 + momentum)
            else:
                h.mul_(momentum).add_(grad, alpha=rate)
                p.sub_(h)


def to_input(images: torch.Tensor, scale: float) -> torch.Tensor:
    """uint8 (n, 28, 28, 1) to scaled float (n, 1, 28, 28), channels_last in memory."""
    return (images.float() * scale).permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(net: LeNet, images: torch.Tensor, labels: torch.Tensor, scale: float) -> float:
    """Percent of the whole set that the net names right."""
    right = 0
    for start in range(0, len(images), 500):
        part = slice(start, start + 500)
        right += int((net(to_input(images[part], scale)).argmax(1) == labels[part]).sum())
    return 100 * right / len(images)


def train(recipe: Recipe, data: Path) -> Result:
    """One whole run. Stops early, with `diverged` set, when loss or accuracy says it is lost."""
    start = time.perf_counter()
    torch.manual_seed(recipe.seed)
    images, labels = load(data, "train")
    test_set = load(data, "t10k")
    net = LeNet()
    updater = Updater(net.params, recipe)
    result = Result(recipe, threads=torch.get_num_threads())
    loss_value = math.nan
    for it in range(recipe.max_iter + 1):
        lr = one_cycle(it, recipe.base_lr, recipe.max_lr, recipe.stepsize)
        momentum = cyclical_momentum(it, recipe.momentum, recipe.min_momentum, recipe.stepsize)
        if it == recipe.max_iter or (it and it % recipe.test_interval == 0):
            percent = accuracy(net, *test_set, recipe.scale)
            result.rows.append(
                {"iteration": it, "lr": lr, "momentum": momentum, "loss": loss_value}
                | {"test_accuracy": percent}
            )
            result.best_accuracy = max(result.best_accuracy, percent)
            result.diverged = not math.isfinite(loss_value) or (it >= 300 and percent < 20)
            print(
                f"Iteration {it}, lr = {lr:.6g}, momentum = {momentum:.6g}, loss = "
                f"{loss_value:.6g}, test accuracy = {percent:.2f} %",
                flush=True,
            )
            if it == recipe.max_iter or result.diverged:
                result.final_accuracy = percent
                break
        # As a Data layer walks its database: in file order, wrapping within a batch.
        index = (it * recipe.batch + torch.arange(recipe.batch)) % len(images)
        loss = F.cross_entropy(net(to_input(images[index], recipe.scale)), labels[index])
        updater.update(torch.autograd.grad(loss, net.params), lr, momentum)
        loss_value = loss.item()
    result.seconds = time.perf_counter() - start
    return result


def save(result: Result, out: Path) -> None:
    """Write the run as NAME.csv and NAME.json into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"lenet_1cycle_{result.recipe.type.lower()}_seed{result.recipe.seed}"
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(result.rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in result.rows:
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})
    summary = asdict(result)
    del summary["rows"], summary["seconds"]  # the CSV has the rows; time depends on the load
    summary["iterations"] = result.rows[-1]["iteration"]
    (out / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--type", choices=("SGD", "Nesterov"), default="Nesterov")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, required=True, help="folder of the four idx files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--base-lr", type=float, default=Recipe.base_lr)
    parser.add_argument("--max-lr", type=float, default=Recipe.max_lr)
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--epochs", type=float, default=Recipe.epochs)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # subnormal history entries cost time and change no digit
    recipe = Recipe(
        type=args.type,
        seed=args.seed,
        base_lr=args.base_lr,
        max_lr=args.max_lr,
        batch=args.batch,
        epochs=args.epochs,
    )
    result = train(recipe, args.data)
    save(result, args.out)
    state = "diverged" if result.diverged else "final"
    print(
        f"{recipe.type} seed {recipe.seed}: {state} {result.final_accuracy:.2f} %, best "
        f"{result.best_accuracy:.2f} %, {result.seconds:.0f} s"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
