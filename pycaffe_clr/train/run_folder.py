"""The folder of a run: what lies in it, who may write to it, and how it is cut back on a resume."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pycaffe_clr import proto
from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.prototxt import (
    SolverNets,
    format_message,
    read_solver,
    solver_nets,
)
from pycaffe_clr.train.lock import take_lock
from pycaffe_clr.train.record import RECORD, read_record
from pycaffe_clr.train.result import FINAL_STATES

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

LOG, METRICS, TESTS, TIMINGS = "train.log", "metrics.csv", "tests.csv", "timings.csv"
CHECKPOINT, CURVE = "checkpoint.bin", "curve.png"
SOLVER, NET = "solver.prototxt", "net.prototxt"
# What grows while a run goes on, and is cut back to the checkpoint on a resume.
GROWING = (LOG, METRICS, TESTS, TIMINGS)
_OWN = (*GROWING, RECORD, CHECKPOINT, CURVE, SOLVER, NET)
_NET_FIELDS = ("net", "train_net", "test_net")


def default_folder(name: str, resume: bool) -> Path:
    """runs/NAME, or the next free runs/NAME-2, -3, ...; for a resume the last one that is there."""
    number, last = 1, Path("runs") / name
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return last if resume else folder
        number, last = number + 1, folder


class RunFolder:
    """A folder that holds one run. Hold it with `with`: it is locked meanwhile."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.streams: dict[str, TextIO] = {}
        self._lock: TextIO | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self.streams.values():
            # What could not be written was reported when it was flushed.
            with contextlib.suppress(OSError):
                stream.close()
        if self._lock is not None:
            self._lock.close()

    # --- may we? --------------------------------------------------------------------------------

    def record(self) -> dict[str, Any] | None:
        """run.json; None if no run lies here. Raises DataError if it cannot be read."""
        return read_record(self.path) if (self / RECORD).exists() else None

    def check_free(self, overwrite: bool, sources: list[Path]) -> None:
        """Raise ConfigError if a new run must not be written here.

        sources: the solver and net files of the new run, which must never be overwritten.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--out {self.path}: is a file; expected a folder")
        for source in sources:
            for name in (SOLVER, NET):
                own = self / name
                if own.exists() and source.exists() and own.samefile(source):
                    raise ConfigError(
                        f"--out {self.path}: the run would overwrite its own source {source}; "
                        "give another folder"
                    )
        if overwrite:
            return
        record = self.record()
        if record is not None and record["state"] != "starting":
            at = f" at iteration {record['iteration']}" if "iteration" in record else ""
            go_on = "" if record["state"] in FINAL_STATES else "Go on with it by --resume, or "
            raise ConfigError(
                f"--out {self.path}: a run lies there ({record['state']}{at}). "
                f"{go_on}{'r' if go_on else 'R'}eplace it by --overwrite, or give another folder"
            )
        if record is None:
            there = [name for name in _OWN if (self / name).exists()]
            if there:
                raise ConfigError(
                    f"--out {self.path}: {', '.join(there)} would be replaced. "
                    "Give another folder, or --overwrite"
                )

    def lock(self) -> None:
        """Keep other runs out until the end of this one. Raises ConfigError, DataError."""
        self._lock = take_lock(self.path)

    # --- files ----------------------------------------------------------------------------------

    def clear(self, prefix: str) -> None:
        """Remove what an earlier run left, its snapshots PREFIX_iter_* included."""
        for path in [*(self / n for n in _OWN), *self.path.glob(f"{_escaped(prefix)}_iter_*")]:
            if path.name in _OWN or ".caffemodel" in path.name or ".solverstate" in path.name:
                path.unlink(missing_ok=True)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write run.json. Raises DataError."""
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self / RECORD, [text.encode()])

    def open(self, lengths: Mapping[str, int] | None = None) -> None:
        """Open the growing files, empty or cut back to `lengths` bytes. Raises DataError."""
        for name in GROWING:
            path = self / name
            try:
                # A checkpoint of an older version does not know every file.
                known = lengths is not None and name in lengths
                if lengths is not None and known:
                    if path.stat().st_size < lengths[name]:
                        raise DataError(
                            f"{path}: is shorter than the checkpoint says "
                            f"({lengths[name]} bytes); put it back, or start anew with --overwrite"
                        )
                    with path.open("r+b") as file:
                        file.truncate(lengths[name])
                stream = path.open("ab" if known else "wb")
                self.streams[name] = TextIOWrapper(stream, encoding="utf-8", newline="")
            except OSError as error:
                raise DataError(f"{path}: cannot be opened: {error.strerror}") from error

    def lengths(self) -> dict[str, int]:
        """Bytes of each growing file, all of it handed to the system. Raises DataError."""
        found = {}
        for name, stream in self.streams.items():
            try:
                stream.flush()
                found[name] = stream.tell()
            except OSError as error:
                raise DataError(f"{self / name}: cannot be written: {error.strerror}") from error
        return found


def _escaped(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


# --- resolved prototxts -------------------------------------------------------------------------


def write_resolved(
    folder: RunFolder, solver: SolverParameter, nets: SolverNets
) -> dict[str, list[str]]:
    """Write the solver and the nets that it trains and tests; returns the nets' old names.

    Placeholders are filled in and all changes made. The solver's net becomes net.prototxt;
    train_net and test_net become files of those names.
    """
    resolved = proto.SolverParameter()
    resolved.CopyFrom(solver)
    names = net_names(solver)
    for field, files in names.items():
        for number in range(len(files)):
            stem = field if len(files) == 1 else f"{field}_{number}"
            text = format_message(nets.files[field, number])
            write_atomically(folder / f"{stem}.prototxt", [text.encode()])
            if field == "test_net":
                resolved.test_net[number] = f"{stem}.prototxt"
            else:
                setattr(resolved, field, f"{stem}.prototxt")
    write_atomically(folder / SOLVER, [format_message(resolved).encode()])
    return names


def net_names(solver: SolverParameter) -> dict[str, list[str]]:
    """The net files that a solver names, by field."""
    fields = [field for field, _ in solver.ListFields()]
    set_fields = {field.name for field in fields}
    return {
        name: list(solver.test_net) if name == "test_net" else [getattr(solver, name)]
        for name in _NET_FIELDS
        if name in set_fields
    }


def read_resolved(
    folder: RunFolder, names: Mapping[str, list[str]]
) -> tuple[SolverParameter, SolverNets]:
    """The solver and nets that write_resolved wrote. names: what it returned. Raises ConfigError.

    The solver names its nets as the user's file did, so that logs agree.
    """
    solver = read_solver(folder / SOLVER)
    _name_nets(solver, {f: [str(folder / n) for n in v] for f, v in net_names(solver).items()})
    nets = solver_nets(solver, folder / SOLVER)
    _name_nets(solver, names)
    return solver, nets


def _name_nets(solver: SolverParameter, names: Mapping[str, list[str]]) -> None:
    for field, files in names.items():
        if field == "test_net":
            del solver.test_net[:]
            solver.test_net.extend(files)
        elif field in _NET_FIELDS and files:
            setattr(solver, field, files[0])


def rewrite_max_iter(folder: RunFolder, max_iter: int) -> None:
    """Change max_iter in the resolved solver, for a resume that shortens or extends the run."""
    solver = read_solver(folder / SOLVER, sets={"max_iter": str(max_iter)})
    write_atomically(folder / SOLVER, [format_message(solver).encode()])
