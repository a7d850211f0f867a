"""Checks of a solver's values while reading it, so that a wrong one does not surface mid-run.

What Caffe refuses or what would crash it is an error; what it accepts but cannot be meant is
a warning in the log.
"""

from __future__ import annotations

import difflib
import logging
import math
from typing import TYPE_CHECKING

from pycaffe_clr.catalog import is_shipped
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.proto import is_repeated
from pycaffe_clr.prototxt.source import Source, nowhere

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

_log = logging.getLogger(__name__)

# Policy -> the fields that its formula reads beside base_lr. The formulas are in the report and in
# Caffe's sgd_solver.cpp, GetLearningRate.
POLICIES: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
    "triangular": ("max_lr", "stepsize"),
    "triangular2": ("max_lr", "stepsize"),
    "exp_range": ("max_lr", "stepsize", "gamma"),
    "1cycle": ("max_lr", "stepsize"),
}
_POLICY_FIELDS = ("gamma", "power", "stepsize", "stepvalue", "max_lr")

TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
# How SSD's solver tests, and which average precision it takes.
EVALUATIONS = ("classification", "detection")
AP_VERSIONS = ("Integral", "MaxIntegral", "11point")
_NO_MOMENTUM = ("AdaGrad", "RMSProp")
_CYCLICAL_MOMENTUM = ("SGD", "Nesterov")

# Field -> smallest value allowed.
_MINIMA = {
    "display": 0,
    "max_iter": 0,
    "test_interval": 0,
    "snapshot": 0,
    "average_loss": 1,
    "iter_size": 1,
    "replicas": 1,
    "device_id": 0,
    "base_lr": 0,
    "max_lr": 0,
    "gamma": 0,
    "momentum": 0,
    "momentum2": 0,
    "rms_decay": 0,
    "delta": 0,
    "weight_decay": 0,
}


def validate_solver(solver: SolverParameter, source: Source | None = None) -> None:
    """Check the values of an upgraded SolverParameter; raises ConfigError for the first wrong one.

    Which nets it names is checked by solver_nets, once they are wanted.
    """
    source = source or nowhere(solver)
    _check_numbers(solver, source)
    _check_choices(solver, source)
    _check_policy(solver, source)
    _check_momentum(solver, source)
    _check_tests(solver, source)


def _check_numbers(solver: SolverParameter, source: Source) -> None:
    for field, values in solver.ListFields():
        if field.cpp_type != field.CPPTYPE_FLOAT:
            continue
        for index, value in enumerate(values if is_repeated(field) else [values]):
            if not math.isfinite(value):
                raise ConfigError(
                    f"{source.where(field.name, index)}: {field.name} is {value}, "
                    "expected a finite number"
                )
    for name, minimum in _MINIMA.items():
        value = getattr(solver, name)
        if solver.HasField(name) and value < minimum:
            raise ConfigError(
                f"{source.where(name)}: {name} is {value:g}, expected {minimum} or more"
            )


def _check_choices(solver: SolverParameter, source: Source) -> None:
    for name, known in (
        ("type", TYPES),
        ("regularization_type", ("L1", "L2")),
        ("eval_type", EVALUATIONS),
        ("ap_version", AP_VERSIONS),
    ):
        value = getattr(solver, name)
        if value not in known:
            raise ConfigError(_unknown(source.where(name), name, value, known))


def _check_policy(solver: SolverParameter, source: Source) -> None:
    if not solver.HasField("lr_policy"):
        raise ConfigError(f"{source.name}: lr_policy is not set; known: {', '.join(POLICIES)}")
    policy, where = solver.lr_policy, source.where("lr_policy")
    if policy not in POLICIES:
        raise ConfigError(_unknown(where, "lr_policy", policy, tuple(POLICIES)))
    if not solver.HasField("base_lr"):
        raise ConfigError(f"{source.name}: base_lr is not set; nothing would be learned")
    wanted = POLICIES[policy]
    for name in wanted:
        if name == "power":
            if not solver.HasField(name):
                _log.warning(
                    '%s: lr_policy "%s" without power keeps the learning rate constant',
                    where, policy,
                )  # fmt: skip
        elif name == "stepvalue":
            if not len(solver.stepvalue):
                _log.warning('%s: lr_policy "multistep" has no stepvalue', where)
        elif not solver.HasField(name):
            raise ConfigError(f'{where}: lr_policy "{policy}" needs {name}, which is not set')
    if "stepsize" in wanted and solver.stepsize <= 0:
        raise ConfigError(
            f'{source.where("stepsize")}: stepsize is {solver.stepsize}; lr_policy "{policy}" '
            "needs 1 or more (iterations)"
        )
    if policy == "poly" and solver.max_iter == 0:
        raise ConfigError(f'{source.where("max_iter")}: lr_policy "poly" divides by max_iter')
    steps = list(solver.stepvalue)
    if "stepvalue" in wanted and steps != sorted(steps):
        # In the report's own solvers it is the author's order, and meant.
        _log.log(
            logging.INFO if is_shipped(source.name) else logging.WARNING,
            "%s: stepvalue is not in rising order; each step waits for those before it",
            source.where("stepvalue"),
        )
    for name in _POLICY_FIELDS:
        is_set = len(steps) if name == "stepvalue" else solver.HasField(name)
        if is_set and name not in wanted:
            _log.info('%s: lr_policy "%s" does not read %s', source.where(name), policy, name)


def _check_momentum(solver: SolverParameter, source: Source) -> None:
    if solver.type in _NO_MOMENTUM and solver.momentum != 0:
        raise ConfigError(
            f"{source.where('momentum')}: momentum cannot be used with type {solver.type}; "
            "remove it or set it to 0"
        )
    if solver.type == "RMSProp" and solver.rms_decay >= 1:
        raise ConfigError(
            f"{source.where('rms_decay')}: rms_decay is {solver.rms_decay:g}, expected less than 1"
        )
    if solver.momentum >= 1:
        _log.warning("%s: with momentum %g old gradients never fade: this diverges",
                     source.where("momentum"), solver.momentum)  # fmt: skip
    if solver.type == "Adam" and solver.momentum2 >= 1:
        _log.warning("%s: with momentum2 %g nothing is learned",
                     source.where("momentum2"), solver.momentum2)  # fmt: skip
    cyclical = list(solver.cyclical_momentum)
    if not cyclical:
        return
    where = source.where("cyclical_momentum")
    if len(cyclical) != 2:
        _log.warning(
            "%s: cyclical_momentum has %d value(s) and is ignored; it takes two: the other bound, "
            "then half a cycle in iterations", where, len(cyclical),
        )  # fmt: skip
    elif cyclical[1] <= 0:
        raise ConfigError(
            f"{source.where('cyclical_momentum', 1)}: half a cycle of momentum is "
            f"{cyclical[1]:g} iterations, expected more than 0"
        )
    elif solver.type not in _CYCLICAL_MOMENTUM:
        _log.warning("%s: type %s ignores cyclical_momentum", where, solver.type)


def _check_tests(solver: SolverParameter, source: Source) -> None:
    for index, count in enumerate(solver.test_iter):
        if count < 1:
            raise ConfigError(
                f"{source.where('test_iter', index)}: test_iter is {count}, "
                "expected 1 or more batches"
            )
    if len(solver.test_iter) and solver.test_interval < 1:
        raise ConfigError(
            f"{source.where('test_interval')}: test_iter is set, so test_interval must be 1 or "
            f"more iterations; it is {solver.test_interval}"
        )
    nets = len(solver.test_net) + len(solver.test_net_param)
    if solver.test_interval > 0 and not len(solver.test_iter) and not nets:
        _log.warning(
            "%s: test_interval is set, but test_iter is not: nothing is tested. Give test_iter, "
            "the batches of one test, or leave out test_interval", source.where("test_interval"),
        )  # fmt: skip


def _unknown(where: str, name: str, value: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(value, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f'{where}: {name} "{value}" is unknown{hint}; known: {", ".join(known)}'
