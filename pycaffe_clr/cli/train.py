"""`pycaffe_clr train`: as `caffe train`, log and all."""

from __future__ import annotations

import argparse

from pycaffe_clr.cli.caffe_flags import add_caffe_flags, choose_device, prepare, stages_of
from pycaffe_clr.errors import ConfigError, EngineError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `caffe train`."""
    parser.description = (
        "Train a solver as `caffe train` does: the log goes to stderr, snapshots to "
        "snapshot_prefix. `pycaffe_clr run` does more."
    )
    names = "solver gpu snapshot weights level stage sigint_effect sighup_effect"
    add_caffe_flags(parser, names)
    parser.add_argument(
        "--caffe-resume",
        action="store_true",
        help="with --snapshot: start at record 0 of the databases, as Caffe does",
    )


def main(args: argparse.Namespace) -> int:
    """Train to max_iter; returns 0, also when a signal stopped it, as Caffe does."""
    from pycaffe_clr.catalog import find_solver
    from pycaffe_clr.engine import new_seed
    from pycaffe_clr.prototxt import load_solver, solver_nets
    from pycaffe_clr.train.follow import follows
    from pycaffe_clr.train.ranks import ranks_of, share_replicas
    from pycaffe_clr.train.session import Session
    from pycaffe_clr.train.signals import Signals

    if follows(args.data_dir):
        return 0
    if not args.solver:
        raise ConfigError("need a solver: --solver FILE")
    if args.snapshot and args.weights:
        raise ConfigError("--snapshot and --weights exclude each other: a snapshot has weights")
    log, defines = prepare(args)
    path = find_solver(args.solver)
    solver, source = load_solver(path, defines)
    if not solver.max_iter > 0:
        raise ConfigError(f"{source.where('max_iter')}: max_iter is not set")
    solver.train_state.level = args.level
    solver.train_state.stage.extend(stages_of(args))
    if args.weights:
        del solver.weights[:]
        solver.weights.extend(args.weights.split(","))
    choice = choose_device(args, log, solver)
    if choice.device == "cpu" and choice.gpus > 1:
        solver.replicas = choice.gpus
    ranks = ranks_of(choice.device)
    share_replicas(solver, ranks.number)
    if solver.random_seed < 0:
        solver.random_seed = new_seed()
    nets = solver_nets(solver, path, defines, source=source)
    seed = int(solver.random_seed)
    with ranks.team() as team:
        if team is not None:
            team.order(solver, nets.train, seed, ranks, args.precision, args.data_dir)
        session = Session(
            solver,
            nets=nets,
            device=ranks.own,
            precision=args.precision,
            seed=seed,
            group=team.group if team else None,
            data_dir=args.data_dir,
            log=log,
        )
        if args.snapshot:
            log.write(f"Resuming from {args.snapshot}", "caffe.cpp:239")
            session.restore(args.snapshot, args.caffe_resume)
        if team is not None:
            team.begin(session)
        log.write("Starting Optimization", "caffe.cpp:248")
        with Signals(session, args.sigint_effect, args.sighup_effect):
            try:
                session.solve()
            except EngineError as error:
                if team is None:
                    raise
                raise team.explain(error) from error
    log.write("Optimization Done.", "caffe.cpp:259")
    return 0
