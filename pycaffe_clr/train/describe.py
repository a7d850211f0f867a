"""What run.json says of a run before it trains: how it was asked for, where it runs, on what."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.devices import gpu_name
from pycaffe_clr.engine import ready_core
from pycaffe_clr.train import facts, machine, summary
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.spec import RunSpec

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter


def start(
    spec: RunSpec, path: Path, solver: SolverParameter, session: Session, device: str
) -> dict[str, Any]:
    """The record of a run that starts."""
    return {
        "state": "starting",
        "solver": str(path.absolute()),
        "name": path.stem,
        "prefix": solver.snapshot_prefix,
        "seed": int(solver.random_seed),
        "replicas": session.replicas,
        "ranks": session.net.ranks,
        "device": device,
        "threads": ready_core().threads(),
        "backend": session.net.backend,
        "processor": machine.processor(),
        "gpu": gpu_name(device),
        "versions": machine.versions(),
        "cwd": str(Path.cwd()),
        "data_dir": None if spec.data_dir is None else str(Path(spec.data_dir).absolute()),
        "weights": spec.weights,
        "snapshot": spec.snapshot,
        "caffe_resume": spec.caffe_resume,
        "defines": spec.defines,
        "sets": spec.sets,
        "spec": spec.to_json(),
        "command": shlex.join(["pycaffe_clr", *spec.words()]),
        "argv": sys.argv,
        "git_commit": facts.git_commit(Path.cwd()),
        "host": facts.host(),
        "first_iteration": session.iteration,
        "labels": dict(spec.labels),
        "max_iter": solver.max_iter,
        "started": machine.now(),
    }


def measures(solver: SolverParameter, session: Session) -> dict[str, Any]:
    """What a run trains on, how much and how. batch: samples of an update; images: of the
    training set."""
    batch, images = session.batch, facts.images(session.feeds)
    return {
        "precision": session.net.precision,
        "parameters": facts.parameters(session.net),
        "batch": batch,
        "images": images,
        "epochs": solver.max_iter * batch / images if images and batch else None,
        "settings": summary.settings(solver),
        "data": facts.data(session.records.paths),
    }
