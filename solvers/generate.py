"""Writes one solver per run of the report's tables and of its author's public logs.

`python solvers/generate.py` writes what has changed; with --check it only says what would change
and ends with code 1 if anything would.

The report gives lengths in epochs. Its logs show how the author made iterations of them: epochs
times images over the total batch size, rounded down (resnet-56: 95 epochs of 50,000 images in
batches of 512 are 9,277 iterations, a stepsize of 41 epochs is 4,003).
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPORT = "Smith 2018 (arXiv:1803.09820)"
GAMMA = 0.316  # half a decade, the author's step; see steps()


@dataclass(frozen=True)
class Task:
    """What the runs on one data set and net share."""

    net: str
    images: int  # of the training set
    total_batch: int
    replicas: int
    test_iter: int = 200
    test_interval: int = 200

    def iterations(self, epochs: float) -> int:
        return int(epochs * self.images / self.total_batch)


@dataclass(frozen=True)
class Run:
    """One solver file: its comment and its fields in the order in which they are written."""

    comment: str
    fields: dict[str, Any]


CIFAR3 = Task("cifar3", 50_000, 128, 1)
RESNET56 = Task("resnet56", 50_000, 512, 4)
WIDE32 = Task("wide32", 50_000, 512, 4)
DENSENET40 = Task("densenet40", 50_000, 512, 4)
CIFAR3_100 = Task("cifar3_cifar100", 50_000, 512, 4)
RESNET56_100 = Task("resnet56_cifar100", 50_000, 512, 4)
RESNET56_100_1024 = Task("resnet56_cifar100_b256", 50_000, 1024, 4, test_interval=100)


def lenet(test_interval: int) -> Task:
    """LeNet's tests see all 10,000 digits, and their interval divides max_iter so that the final
    weights are tested, too."""
    return Task("lenet", 60_000, 512, 1, test_iter=100, test_interval=test_interval)


def steps(max_iter: int) -> list[int]:
    """Step values of the author's multistep runs: after 1/2, 3/4, 7/8 ... of the iterations.

    As in the log of the densenet run, where the last value lies before the one in front of it.
    Source: report, figure 7d; genDensenet40_DenOrigLR0.10.1M0.9WD1e-4Epoch400BS128c_1.
    """
    half = max_iter // 2
    three_quarters = half + max_iter // 4
    seven_eighths = three_quarters + max_iter // 8
    late = [seven_eighths + max_iter // 16, seven_eighths + max_iter // 32]
    return [half, three_quarters, seven_eighths, *late]


def solver(task: Task, epochs: float, schedule: dict[str, Any], tail: dict[str, Any]) -> dict:
    """All fields of a run; schedule: from lr_policy on; tail: from momentum on."""
    fields: dict[str, Any] = {"net": f"prototxt/{task.net}.prototxt"}
    if task.replicas > 1:
        fields["replicas"] = task.replicas
    fields |= {
        "test_iter": task.test_iter,
        "test_interval": task.test_interval,
        "test_initialization": False,
        "display": task.test_interval,
    }
    max_iter = task.iterations(epochs)
    end = {"max_iter": max_iter, "snapshot": max_iter, "type": "Nesterov"}
    return fields | schedule | end | tail


def momentum(
    task: Task, value: float, other: float | None = None, epochs: float = 0
) -> dict[str, Any]:
    """Momentum, or cyclical momentum between value and other with a stepsize in epochs."""
    if other is None:
        return {"momentum": value}
    return {"momentum": value, "cyclical_momentum": [other, task.iterations(epochs)]}


def one_cycle(
    comment: str,
    task: Task,
    lr: tuple[float, float],
    stepsize: float,
    epochs: float,
    mom: tuple[float, ...],
    decay: float,
) -> Run:
    """A 1cycle run; stepsize, also that of a cyclical momentum (two values), in epochs."""
    schedule = {
        "lr_policy": "1cycle",
        "base_lr": lr[0],
        "max_lr": lr[1],
        "stepsize": task.iterations(stepsize),
    }
    tail = momentum(task, *mom, epochs=stepsize) if len(mom) == 2 else momentum(task, *mom)
    return Run(comment, solver(task, epochs, schedule, tail | {"weight_decay": decay}))


def step(
    comment: str,
    task: Task,
    lr: float,
    epochs: float,
    mom: dict[str, Any],
    decay: float,
) -> Run:
    """A run with the author's step policy."""
    schedule = {
        "lr_policy": "multistep",
        "base_lr": lr,
        "gamma": GAMMA,
        "stepvalue": steps(task.iterations(epochs)),
    }
    return Run(comment, solver(task, epochs, schedule, mom | {"weight_decay": decay}))


def table_1() -> dict[str, Run]:
    """Cyclical momentum tests on CIFAR-10: 3-layer net and resnet-56."""
    runs = {}
    settings = (
        ("cifar3", CIFAR3, (0.0005, 0.005), 11, 25, 0.85, 3e-3),
        ("resnet56", RESNET56, (0.08, 0.8), 41, 95, 0.8, 1e-4),
    )
    got = {
        "cifar3_1cycle": (
            "81.3 +- 0.1",
            "80.2 +- 0.1",
            "79.5 +- 0.1",
            "80.2 +- 0.4",
            "81.2 +- 0.2",
        ),
        "cifar3_step": ("80.8 +- 0.3", "80.9 +- 0.3", "80.2 +- 0.3", "81.0 +- 0.2", "81.0 +- 0.1"),
        "resnet56_1cycle": (
            "92.0 +- 0.2",
            "91.4 +- 0.1",
            "90.8 +- 0.3",
            "91.4 +- 0.3",
            "92.1 +- 0.1",
        ),
        "resnet56_step": (
            "89.1 +- 0.3",
            "88.1 +- 0.5",
            "87.8 +- 0.3",
            "88.1 +- 0.1",
            "88.8 +- 0.3",
        ),
    }
    for name, task, lr, stepsize, epochs, low, decay in settings:
        title = "3-layer net" if name == "cifar3" else "resnet-56"
        constant_lr = lr[1] if name == "cifar3" else 0.1
        step_low = 0.85  # in both nets' rows with a step policy
        for policy in ("1cycle", "step"):
            cycle_low = low if policy == "1cycle" else step_low
            moms = ((0.95, cycle_low), (0.9, 1.0), (0.85,), (0.9,), (0.95,))
            plain = 0 if policy == "1cycle" else 3  # the row whose name has no suffix
            for row, mom in enumerate(moms):
                label = " to ".join(f"{value:g}" for value in mom)
                kind = "cm" if len(mom) == 2 else "m"
                suffix = f"_{kind}" + "_".join(f"{100 * value:.0f}" for value in mom)
                accuracy = got[f"{name}_{policy}"][row]
                bounds = f"{lr[0]:g}-{lr[1]:g}" if policy == "1cycle" else f"{constant_lr:g}"
                comment = (
                    f"{REPORT}, table 1: {title} on CIFAR-10, learning rate {bounds}, momentum "
                    f"{label}, total batch {task.total_batch}, {epochs} epochs. The report has "
                    f"{accuracy} %."
                )
                if policy == "step":
                    comment += " Its step policy is that of figure 7d and the author's solver."
                file = f"{name}_{policy}" + ("" if row == plain else suffix)
                if policy == "1cycle":
                    runs[file] = one_cycle(comment, task, lr, stepsize, epochs, mom, decay)
                else:
                    cyclic = momentum(task, *mom, epochs=stepsize) if len(mom) == 2 else None
                    fields = cyclic or momentum(task, *mom)
                    runs[file] = step(comment, task, constant_lr, epochs, fields, decay)
    return runs


def table_2() -> dict[str, Run]:
    """Final accuracies on several data sets, all with total batch 512."""
    head = f"{REPORT}, table 2: "
    runs = {}

    def cycle(name, task, title, lr, stepsize, epochs, mom, decay, accuracy, note=""):
        comment = (
            f"{head}{title}, 1cycle {lr[0]:g}-{lr[1]:g}, stepsize {stepsize} epochs, momentum "
            f"{mom[0]:g}-{mom[1]:g}, {epochs} epochs. The report has {accuracy} %.{note}"
        )
        runs[name] = one_cycle(comment, task, lr, stepsize, epochs, mom, decay)

    def stepped(name, task, title, lr, epochs, decay, accuracy, note=""):
        comment = (
            f"{head}{title}, step policy from {lr:g}, momentum 0.9, {epochs} epochs. The report "
            f"has {accuracy} %.{note}"
        )
        runs[name] = step(comment, task, lr, epochs, {"momentum": 0.9}, decay)

    wide, dense = "wide resnet-32 on CIFAR-10", "densenet-40 on CIFAR-10"
    hundred, mnist = "resnet-56 on CIFAR-100", "LeNet on MNIST"
    for epochs, accuracy in (
        (100, "86.7 +- 0.6"),
        (200, "88.7 +- 0.6"),
        (400, "89.8 +- 0.4"),
        (800, "90.3 +- 1.0"),
    ):
        stepped(f"wide32_step_{epochs}", WIDE32, wide, 0.1, epochs, 1e-4, accuracy)
    mom = (0.95, 0.85)
    cycle("wide32_1cycle_25", WIDE32, wide, (0.1, 0.5), 12, 25, mom, 1e-4, "87.3 +- 0.8")
    cycle("wide32_1cycle_50", WIDE32, wide, (0.1, 1.0), 23, 50, mom, 1e-4, "91.3 +- 0.1")
    cycle("wide32_1cycle", WIDE32, wide, (0.1, 1.0), 45, 100, mom, 1e-4, "91.9 +- 0.2")

    for epochs, accuracy in ((100, "91.3 +- 0.2"), (200, "92.1 +- 0.2"), (400, "92.7 +- 0.2")):
        stepped(f"densenet40_step_{epochs}", DENSENET40, dense, 0.1, epochs, 1e-4, accuracy)
    note = " The public log of the 50-epoch run has momentum 0.9-0.8."
    mom, lr = (0.9, 0.85), (0.1, 4.0)
    cycle("densenet40_1cycle_50", DENSENET40, dense, lr, 22, 50, mom, 1e-6, "91.7 +- 0.3", note)
    cycle("densenet40_1cycle_75", DENSENET40, dense, lr, 34, 75, mom, 1e-6, "92.1 +- 0.2")
    cycle("densenet40_1cycle_100", DENSENET40, dense, lr, 45, 100, mom, 1e-6, "92.2 +- 0.2")
    cycle("densenet40_1cycle", DENSENET40, dense, lr, 70, 150, mom, 1e-6, "92.8 +- 0.1")

    note = " The report does not say when the rate steps down; here as in its CIFAR runs."
    stepped("lenet_step", lenet(120), mnist, 0.01, 85, 5e-4, "99.00 +- 0.04", note)
    mom, lr = (0.95, 0.8), (0.01, 0.1)
    cycle("lenet_1cycle", lenet(74), mnist, lr, 5, 12, mom, 5e-4, "99.25 +- 0.03")
    cycle("lenet_1cycle_25", lenet(101), mnist, lr, 12, 25, mom, 5e-4, "99.28 +- 0.06")
    cycle("lenet_1cycle_50", lenet(93), mnist, lr, 23, 50, mom, 5e-4, "99.27 +- 0.07")
    cycle("lenet_1cycle_85", lenet(120), mnist, (0.02, 0.2), 40, 85, mom, 5e-4, "99.35 +- 0.03")

    for epochs, accuracy in ((100, "60.8 +- 0.4"), (200, "61.6 +- 0.9"), (400, "61.0 +- 0.2")):
        name = f"resnet56_cifar100_step_{epochs}"
        stepped(name, RESNET56_100, hundred, 0.005, epochs, 1e-4, accuracy)
    task, mom = RESNET56_100, (0.95, 0.85)
    name = "resnet56_cifar100_1cycle"
    cycle(f"{name}_25", task, hundred, (0.1, 0.5), 12, 25, mom, 1e-4, "65.4 +- 0.2")
    cycle(f"{name}_50", task, hundred, (0.1, 0.5), 23, 50, mom, 1e-4, "66.4 +- 0.6")
    cycle(name, task, hundred, (0.09, 0.9), 45, 100, mom, 1e-4, "69.0 +- 0.4")
    return runs


def lenet_inv() -> Run:
    """Caffe's own lenet_solver.prototxt with total batch 512."""
    comment = (
        f"{REPORT}, table 2: LeNet on MNIST with the settings that come with Caffe (inv policy, "
        "plain SGD, 10,000 iterations, which are 85 epochs of batches of 512). The report has "
        "99.03 +- 0.04 %."
    )
    schedule = {"lr_policy": "inv", "base_lr": 0.01, "gamma": 0.0001, "power": 0.75}
    fields = solver(lenet(500), 85, schedule, {"momentum": 0.9, "weight_decay": 5e-4})
    fields |= {"max_iter": 10000, "snapshot": 10000, "display": 100, "type": "SGD"}
    return Run(comment, fields)


def lenet_sample() -> Run:
    """The first run of a newcomer: seconds, with no download."""
    comment = (
        "LeNet on the 10,000 + 2,000 real digits that ship with the package: the 1cycle run of "
        f"{REPORT}, table 2, scaled to 8 epochs of batches of 64. "
        "Make the data with: pycaffe_clr data mnist --sample"
    )
    task = Task("lenet_sample", 10_000, 64, 1, test_iter=20, test_interval=125)
    run = one_cycle(comment, task, (0.005, 0.05), 3.5, 8, (0.95, 0.8), 5e-4)
    return Run(comment, run.fields | {"display": 25, "random_seed": 1})


def lenet_batch128() -> Run:
    """What the report's settings need to reach its result."""
    comment = (
        f"The run of {REPORT}, table 2, with LeNet and 12 epochs, in batches of 128 instead of "
        "512: four times as much gradient noise. It reaches the 99.25 +- 0.03 % of the report, "
        "from which lenet_1cycle stays away (solvers/results/lenet_1cycle)."
    )
    task = Task("lenet_batch128", 60_000, 128, 1, test_iter=100, test_interval=375)
    return one_cycle(comment, task, (0.01, 0.1), 5, 12, (0.95, 0.8), 5e-4)


def logs() -> dict[str, Run]:
    """Runs that the tables leave out but whose logs the author published."""
    head = "A run of the author's public logs for " + REPORT
    name = "c100Resnet56_C100Res1CycLR.1001.2CM0.95.85WD1e-4Epoch145BS256g_1"
    large = (
        f"{head}, figure 15b: resnet-56 on CIFAR-100 with total batch 1024 (4 replicas of 256), "
        f"1cycle 0.1-1.2, 145 epochs. Log: {name}."
    )
    task, mom = RESNET56_100_1024, (0.95, 0.85)
    runs = {
        "resnet56_cifar100_1cycle_tbs1024": one_cycle(large, task, (0.1, 1.2), 70, 145, mom, 1e-4),
    }
    name = "cifar100_C100CycLR.0020.02CM0.95.8WD6e-4Epoch50BS128l_1"
    shallow = f"{head}: the 3-layer net on CIFAR-100, 1cycle 0.002-0.02, 50 epochs. Log: {name}."
    runs["cifar3_cifar100_1cycle"] = one_cycle(
        shallow, CIFAR3_100, (0.002, 0.02), 23, 50, (0.95, 0.8), 6e-4
    )
    name = "wide32cifar_Wide1CycLR.1001M0.95WD1e-5Epoch100BS128j_1"
    weak = (
        f"{head}, figure 13a: wide resnet-32 on CIFAR-10 with weight decay 1e-5, 100 epochs. "
        f"Log: {name}."
    )
    runs["wide32_1cycle_wd1e-5"] = one_cycle(weak, WIDE32, (0.1, 1.0), 45, 100, mom, 1e-5)
    return runs


def imagenet() -> dict[str, Run]:
    """Section 5.5, figure 16: 4 GPUs with 32 (ResNet-50) or 28 images each."""
    nets = {
        "resnet50": ("resnet-50, total batch 128", 95_000, 200_000, 95_000),
        # The author's stepsize of momentum is ten times that of the learning rate.
        "inception_resnet_v2": (
            "inception-resnet-v2, total batch 112",
            108_000,
            220_000,
            1_080_000,
        ),
    }
    best = {"resnet50": "67.6", "inception_resnet_v2": "74.0"}
    base = {"resnet50": "63.7 % after 130", "inception_resnet_v2": "67.6 % after 100"}
    runs = {}
    for name, (title, stepsize, max_iter, momentum_step) in nets.items():
        fields: dict[str, Any] = {"net": f"prototxt/{name}.prototxt", "replicas": 4}
        fields |= {"test_iter": 1000, "test_interval": 500, "test_initialization": False}
        fields |= {"display": 500, "average_loss": 500}
        end = {"snapshot": 20_000, "type": "Nesterov"}
        head = f"{REPORT}, section 5.5 and figure 16: {title} on ImageNet, "
        schedule: dict[str, Any] = {"lr_policy": "step", "base_lr": 0.1, "gamma": 0.94}
        schedule |= {"stepsize": 20_000, "max_iter": 1_600_000}
        comment = f"{head}standard training. The report has {base[name]} epochs."
        tail = {"momentum": 0.9, "weight_decay": 1e-4}
        runs[f"{name}_step"] = Run(comment, fields | schedule | end | tail)
        for decay in (3e-6, 1e-5, 1e-6):
            length = 75_000 if (name, decay) == ("resnet50", 1e-6) else stepsize
            cyclic = length if name == "resnet50" else momentum_step
            schedule = {"lr_policy": "1cycle", "base_lr": 0.05, "max_lr": 1.0}
            schedule |= {"stepsize": length, "max_iter": max_iter}
            got = f" The report has {best[name]} %." if decay == 3e-6 else ""
            comment = f"{head}1cycle 0.05-1 in 20 epochs, weight decay {exponent(decay)}.{got}"
            if name != "resnet50":
                comment += " The momentum's stepsize, ten times the rate's, is the author's."
            tail = {"momentum": 0.95, "cyclical_momentum": [0.85, cyclic], "weight_decay": decay}
            file = f"{name}_1cycle" + ("" if decay == 3e-6 else f"_wd{exponent(decay)}")
            runs[file] = Run(comment, fields | schedule | end | tail)
    return runs


def exponent(value: float) -> str:
    """1e-05 as people write it: 1e-5."""
    return f"{value:g}".replace("e-0", "e-")


def runs() -> dict[str, Run]:
    """File name without suffix -> run."""
    single = {
        "lenet_inv": lenet_inv(),
        "lenet_1cycle_batch128": lenet_batch128(),
        "lenet_sample": lenet_sample(),
    }
    return table_1() | table_2() | single | logs() | imagenet()


def text_of(name: str, run: Run) -> str:
    """The prototxt text of one solver."""
    glued = run.comment.replace(" +- ", "~+-~").replace(" %", "~%")  # not to be broken
    lines = [f"# {line}" for line in textwrap.wrap(glued, 98, break_on_hyphens=False)]
    lines = [line.replace("~", " ") for line in lines]
    for field, value in (run.fields | {"snapshot_prefix": name}).items():
        for item in value if isinstance(value, list) else [value]:
            lines.append(f"{field}: {scalar(item)}")
    return "\n".join(lines) + "\n"


def scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if isinstance(value, int) else exponent(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    changed = []
    for name, run in runs().items():
        path = HERE / f"{name}.prototxt"
        text = text_of(name, run)
        if not path.exists() or path.read_text() != text:
            changed.append(path)
            if not check:
                path.write_text(text)
    for path in changed:
        print(("differs: " if check else "wrote ") + path.name)
    return 1 if check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
