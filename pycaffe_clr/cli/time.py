"""`pycaffe_clr time`: as `caffe time`, for the fused plan that training uses."""

from __future__ import annotations

import argparse

from pycaffe_clr.cli.caffe_flags import (
    add_caffe_flags,
    build_model,
    choose_device,
    phase_of,
    prepare,
)
from pycaffe_clr.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `caffe time`."""
    parser.description = (
        "Time a net: milliseconds per op (an op stands under the names of the layers it does), "
        "then in total (caffe.cpp, time). On a GPU also what each op reaches, beside its floor."
    )
    add_caffe_flags(parser, "model weights gpu iterations phase level stage")


def main(args: argparse.Namespace) -> int:
    """Log the times; returns 0."""
    from pycaffe_clr.cli.step_table import measured_lines
    from pycaffe_clr.devices import gpu_name
    from pycaffe_clr.engine import Records
    from pycaffe_clr.train.log import number
    from pycaffe_clr.train.passes import time_ops
    from pycaffe_clr.train.step_model import gpu_named, step_work

    if args.iterations < 1:
        raise ConfigError(f"--iterations must be 1 or more, not {args.iterations}")
    log, defines = prepare(args)
    phase = phase_of(args, 0)
    device = choose_device(args, log).device
    records = Records(args.data_dir)
    net, _ = build_model(args, log, defines, phase, device, records)
    backward = phase == 0

    def say(text: str, line: int) -> None:
        log.write(text, f"caffe.cpp:{line}")

    # A first pass settles memory, as in Caffe.
    say("Performing Forward", 357)
    say(f"Initial loss: {number(net.forward())}", 362)
    if backward:
        say("Performing Backward", 363)
        net.backward()
    say("*** Benchmark begins ***", 371)
    say(f"Testing for {args.iterations} iterations.", 372)

    def pass_line(index: int, passed: float) -> None:
        say(f"Iteration: {index + 1} forward-backward time: {number(passed)} ms.", 400)
        log.flush()

    ops, total = time_ops(net, args.iterations, pass_line)
    say("Average time per layer: ", 403)
    for op in ops:
        say(f"{op.name:>10}\tforward: {number(op.forward)} ms.", 406)
        say(f"{op.name:>10}\tbackward: {number(op.backward)} ms.", 409)
    forward_total, backward_total = sum(op.forward for op in ops), sum(op.backward for op in ops)
    say(f"Average Forward pass: {number(forward_total)} ms.", 414)
    say(f"Average Backward pass: {number(backward_total)} ms.", 416)
    say(f"Average Forward-Backward: {number(total / args.iterations)} ms.", 418)
    say(f"Total Time: {number(total)} ms.", 420)
    batch = net.shape(net.blobs()[0])[:1]
    for path, rate in records.rates().items():
        step = f"; a step takes {number(1e3 * batch[0] * args.iterations / total)}" if batch else ""
        say(f"{path} gives {number(rate)} images/s{step}", 420)
    # Copies of parameters, for ops that the host runs, are no ops of the plan.
    planned = [op for op in ops if op.op != "copy"]
    work = step_work(net, update=False)
    if any(op.launches for op in work):
        name = gpu_name(device) or device
        lines = measured_lines(work, planned, gpu_named(name))
        say(f"By the clock of {name}:\n" + "\n".join(lines), 420)
    say("*** Benchmark ends ***", 421)
    return 0
