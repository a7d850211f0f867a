"""Short runs of one solver with a few settings changed: what range test, searches and recipe share.

A study is a folder: a file of its settings and findings, and a run's folder for each trial. What
was run is never run again: the same command goes on where it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments.watch import Watch
from pycaffe_clr.prototxt import filter_net, format_message
from pycaffe_clr.train.read_spec import read_spec
from pycaffe_clr.train.result import RunResult, read_run
from pycaffe_clr.train.run_folder import CHECKPOINT
from pycaffe_clr.train.spec import RunSpec

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter, SolverParameter

Say = Callable[[str], None]
# Tests of a range test: enough to see where the loss turns.
TESTS = 60
# Fields of RunSpec that say where a run is made, and not what it computes.
_WHERE = ("data_dir", "device", "threads", "checkpoint_every")
_CHECKSUM = "checksum"
_LEARNING = ("Convolution", "Deconvolution", "InnerProduct")
# Where the tests of a trial would cost more than its training they see fewer images, but not so few
# that the losses of their samples differ much; a pass forward is a third of a step.
_FORWARD, _LEAST_IMAGES = 1 / 3, 2000


@dataclass(frozen=True)
class Base:
    """What a solver and its nets say.

    batch: samples of one update. pass_batch: batch_size in TRAIN, of each of the replicas. lr:
    lowest and highest of its cycle; twice the same without one. momentum: one value, or from and
    to. layers: convolutions and inner products. checksum: of solver and nets.
    """

    name: str
    path: Path
    param: SolverParameter
    batch: int
    pass_batch: int
    replicas: int
    test_batch: int
    lr: tuple[float, float]
    momentum: tuple[float, ...]
    layers: int
    checksum: str

    @property
    def max_iter(self) -> int:
        """Iterations that the solver asks for."""
        return int(self.param.max_iter)


def base_of(solver: str | Path, fields: Mapping[str, Any] | None = None) -> Base:
    """Read a solver by path or shipped name. fields: of RunSpec, those that change it count.

    Raises ConfigError, also for a solver that tests nothing: without a test loss there is no clue.
    """
    param, nets, path, _ = read_spec(RunSpec(solver=str(solver), **(fields or {})))
    if not nets.tests or not param.test_interval:
        raise ConfigError(
            f"{path}: tests nothing (no test_iter or test_interval), and the clues are in the test "
            "loss. Add test_iter and test_interval, and a TEST data layer to the net"
        )
    pass_batch = batch_of(nets.train)
    replicas = max(1, param.replicas)
    high = param.max_lr if param.HasField("max_lr") else param.base_lr
    cyclical = list(param.cyclical_momentum)
    texts = [format_message(message) for message in (param, nets.train, *nets.tests)]
    return Base(
        name=path.stem,
        path=path,
        param=param,
        batch=pass_batch * replicas * param.iter_size,
        pass_batch=pass_batch,
        replicas=replicas,
        test_batch=batch_of(nets.tests[0]),
        lr=(plain(param.base_lr), plain(high)),
        momentum=(plain(param.momentum), *map(plain, cyclical[:1])),
        layers=sum(layer.type in _LEARNING for layer in filter_net(nets.train).layer),
        checksum=hashlib.sha256("".join(texts).encode()).hexdigest()[:16],
    )


def batch_of(net: NetParameter) -> int:
    """batch_size of the data layer of a net with its state merged in; 1 where none has one."""
    for layer in filter_net(net).layer:
        for descriptor, message in layer.ListFields():
            known = descriptor.message_type and descriptor.message_type.fields_by_name
            if known and "batch_size" in known and message.batch_size:
                return int(message.batch_size)
        if layer.HasField("input_param") and len(layer.input_param.shape):
            return int(layer.input_param.shape[0].dim[0])
    return 1


# --- settings of a trial ------------------------------------------------------------------------


def plain(value: float) -> float:
    """A value without the digits that arithmetic adds: 0.1 * 3 is 0.3."""
    return float(f"{value:.6g}")


def fixed_rate(rate: float) -> dict[str, Any]:
    """Solver fields of a constant learning rate."""
    return {"lr_policy": "fixed", "base_lr": rate, **_UNUSED}


def rising_rate(low: float, high: float, iterations: int) -> dict[str, Any]:
    """Solver fields of a learning rate that rises from low to high: the author's range test.

    As in his clrsolver.prototxt: half a cycle, its stepsize the whole run.
    """
    if low == high:
        return fixed_rate(high)
    fields = {"lr_policy": "triangular", "base_lr": low, "max_lr": high, "stepsize": iterations}
    return _UNUSED | fields


def one_cycle(low: float, high: float, stepsize: int) -> dict[str, Any]:
    """Solver fields of the 1cycle policy."""
    fields = {"lr_policy": "1cycle", "base_lr": low, "max_lr": high, "stepsize": stepsize}
    return _UNUSED | fields


# An empty value clears a field that another policy had.
_UNUSED = {"stepvalue": "", "gamma": "", "power": "", "max_lr": ""}


def momentum_fields(momentum: Sequence[float], stepsize: int) -> dict[str, Any]:
    """Solver fields of a constant momentum (one value) or a cyclical one (from, to)."""
    if len(momentum) == 2:
        cyclical = [momentum[1], stepsize]
        return {"momentum": momentum[0], "cyclical_momentum": cyclical}
    return {"momentum": momentum[0], "cyclical_momentum": ""}


def frequent_tests(base: Base, iterations: int, tests: int = TESTS) -> dict[str, Any]:
    """Solver fields that test a run of so many iterations about `tests` times.

    test_iter is lowered where the tests would cost more than the training, but not below 2,000
    images, and never raised.
    """
    interval = max(1, round(iterations / max(1, tests)))
    count = iterations // interval + 1
    affordable = iterations * base.batch / (_FORWARD * count * base.test_batch)
    most = max(math.ceil(_LEAST_IMAGES / base.test_batch), int(affordable))
    return {
        "test_iter": [min(asked, most) for asked in base.param.test_iter],
        "test_interval": interval,
        "test_initialization": True,
        "display": interval,
    }


@dataclass(frozen=True)
class Trial:
    """One run of a study. name: its folder's. sets: solver fields. fields: of RunSpec."""

    name: str
    sets: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)


# --- the folder ---------------------------------------------------------------------------------


class Study:
    """A folder of trials, and a file in it with settings and findings. Hold it with `with`.

    settings: what decides the trials; a folder with others is refused (ConfigError), and so is one
    whose solver or net has changed since. growing: names of settings that may change from one call
    to the next, such as further values to try. fields: of RunSpec, for every run; where and on how
    many threads it runs may change, too.
    """

    def __init__(
        self,
        folder: str | Path,
        file: str,
        base: Base,
        settings: Mapping[str, Any],
        fields: Mapping[str, Any] | None = None,
        growing: Sequence[str] = (),
        say: Say | None = None,
    ) -> None:
        self.path = Path(folder)
        self.file = self.path / file
        self.solver = str(base.path.absolute())
        self.fields = {k: v for k, v in (fields or {}).items() if v not in (None, {})}
        deciding = {k: v for k, v in self.fields.items() if k not in _WHERE}
        own = {"solver": base.name, _CHECKSUM: base.checksum, "fields": deciding}
        self.settings = json.loads(json.dumps(own | dict(settings)))
        self.growing = growing
        self.say = say or (lambda text: None)
        self.found: dict[str, Any] = {}
        self._lock: Any = None

    def __enter__(self) -> Study:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ConfigError(f"{self.path}: another process works in it") from None
        except OSError:
            pass  # a file system without locks
        try:
            self._check()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _check(self) -> None:
        kept = read_study(self.file) if self.file.exists() else {}
        before = kept.get("settings", self.settings)
        for name, value in self.settings.items():
            if name in self.growing or before.get(name) == value:
                continue
            problem = f"holds one with {name} {before.get(name)}, not {value}"
            if name == _CHECKSUM:
                problem = "the solver or its net has changed since"
            raise ConfigError(
                f"{self.path}: {problem}. Give the same settings to go on, or another folder by "
                "--out"
            )
        self.found = kept
        self.save()

    def save(self, **findings: Any) -> None:
        """Write settings and findings. Raises DataError."""
        self.found = self.found | findings | {"settings": self.settings}
        text = json.dumps(_strict(self.found), indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.file, [text.encode()])

    def run(self, trial: Trial, watch: Watch | None = None) -> RunResult:
        """The trial's result: made now, gone on with, or read, where it was final before.

        watch: may end the run early; by default where it has clearly diverged. A signal stops the
        run, which then goes on another time, and interrupts the caller.
        """
        from pycaffe_clr import run

        folder = self.path / trial.name
        with contextlib.suppress(DataError):
            before = read_run(folder)
            if before.final:
                return before
        callbacks = [watch or Watch(folder)]
        result: RunResult = run(self.solver, callbacks=callbacks, **self._fields(trial))
        if result.final:
            # Nothing goes on from here.
            (folder / CHECKPOINT).unlink(missing_ok=True)
        return result

    def run_ahead(self, trials: Sequence[Trial], at_once: int) -> None:
        """Make the trials that are not final yet, so many at a time, each in a process of its own.

        Those that fail are left to `run`, which then says why.
        """
        if at_once < 2 or len(trials) < 2:
            return
        from pycaffe_clr.experiments.dispatch import run_jobs
        from pycaffe_clr.experiments.jobs import Job

        jobs = [
            Job(
                name=trial.name,
                spec=RunSpec(solver=self.solver, **self._fields(trial)),
                iterations=int(trial.sets.get("max_iter", 0)),
                watch=f"{Watch.__module__}:{Watch.__name__}",
            )
            for trial in trials
        ]
        run_jobs(jobs, at_once=at_once, threads=self.fields.get("threads"))

    def _fields(self, trial: Trial) -> dict[str, Any]:
        """The fields of a trial's RunSpec, but the solver."""
        snapshot = {"snapshot": 0, "snapshot_after_train": False}
        # What a trial is about wins over what was set for all.
        sets = snapshot | dict(self.fields.get("sets", {})) | dict(trial.sets)
        fields = {"whole_test": False, "curve": False} | self.fields | dict(trial.fields)
        return fields | {"sets": sets, "out": str(self.path / trial.name), "resume": True}


def _strict(value: Any) -> Any:
    """The same without nan and inf, which JSON does not have: null."""
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_study(file: str | Path) -> dict[str, Any]:
    """Settings and findings of a study. Raises DataError."""
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        raise DataError(f"{file}: is not the file of a range test, a search or a recipe")
    return found
