"""`pycaffe_clr test`: as `caffe test`."""

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
    """Declare the flags of `caffe test`."""
    parser.description = "Score --weights on a net: each batch, then the means (caffe.cpp, test)."
    add_caffe_flags(parser, "model weights gpu iterations phase level stage")


def main(args: argparse.Namespace) -> int:
    """Log every batch's outputs and their means; returns 0."""
    from pycaffe_clr.engine import loss_weights
    from pycaffe_clr.train.log import number
    from pycaffe_clr.train.passes import score

    if not args.model:
        raise ConfigError("need a net to score: --model FILE")
    if not args.weights:
        raise ConfigError("need weights to score: --weights FILE")
    if args.iterations < 1:
        raise ConfigError(f"--iterations must be 1 or more, not {args.iterations}")
    log, defines = prepare(args)
    device = choose_device(args, log).device
    net, _ = build_model(args, log, defines, phase_of(args, 1), device)
    log.write(f"Running for {args.iterations} iterations.", "caffe.cpp:281")

    def batch_line(batch: int, values: list[tuple[str, float]]) -> None:
        for name, value in values:
            log.write(f"Batch {batch}, {name} = {number(value)}", "caffe.cpp:304")
        log.flush()

    result = score(net, args.iterations, batch_line)
    log.write(f"Loss: {number(result.loss)}", "caffe.cpp:309")
    weights = loss_weights(net)
    for name, mean in result.outputs:
        weight = weights.get(name, 0.0)
        loss = f" (* {number(weight)} = {number(weight * mean)} loss)" if weight else ""
        log.write(f"{name} = {number(mean)}{loss}", "caffe.cpp:321")
    return 0
