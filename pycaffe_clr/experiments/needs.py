"""What runs need before they can start: their data, and room to write. Asked before hours go by."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.data.resolve import resolve
from pycaffe_clr.errors import DataError, PycaffeClrError
from pycaffe_clr.experiments.jobs import Job
from pycaffe_clr.prototxt import filter_net
from pycaffe_clr.train.read_spec import read_spec
from pycaffe_clr.train.record import RECORD, read_record
from pycaffe_clr.train.spec import RunSpec, check_resume

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter

# A row of metrics.csv, and what the other files of a run take but for its weights.
_BYTES_PER_ITERATION, _BYTES_PER_RUN = 60, 1 << 20


def unmet(jobs: Iterable[Job]) -> dict[str, PycaffeClrError]:
    """Why jobs cannot start, by the job's name: data that are missing, nets that cannot be read,
    folders with a run that was begun otherwise.

    Every net is read once, however many jobs train it.
    """
    known: dict[tuple[Any, ...], PycaffeClrError | None] = {}
    found = {}
    for job in jobs:
        spec = job.spec
        key = (spec.solver, spec.net, spec.data_dir, *spec.defines.items(), *spec.net_sets.items())
        if key not in known:
            known[key] = _unmet(spec)
        error = known[key] or _begun_otherwise(spec)
        if error is not None:
            found[job.name] = error
    return found


def _begun_otherwise(spec: RunSpec) -> PycaffeClrError | None:
    folder = Path(str(spec.out))
    if spec.overwrite or not (folder / RECORD).exists():
        return None
    try:
        record = read_record(folder)
        if record["state"] != "starting":
            check_resume(spec, folder, record)
    except PycaffeClrError as error:
        return error
    return None


def _unmet(spec: RunSpec) -> PycaffeClrError | None:
    try:
        nets = read_spec(spec).nets
    except PycaffeClrError as error:
        return error
    for path, kind in _sources([nets.train, *nets.tests]):
        try:
            resolve(path, spec.data_dir, kind, lambda _: None)
        except DataError as error:
            if "imagenet" in path.lower() or "ilsvrc" in path.lower():
                return DataError(f"needs an ImageNet LMDB. {error}")
            return error
    return None


def _sources(nets: Iterable[NetParameter]) -> Iterator[tuple[str, str]]:
    """Databases and mean files that nets read, each with what it is."""
    for net in nets:
        for layer in filter_net(net).layer:
            if layer.type == "Data":
                yield layer.data_param.source, "database"
                if layer.transform_param.mean_file:
                    yield layer.transform_param.mean_file, "mean file"


def check_room(root: Path, iterations: int, runs: int) -> None:
    """Raise DataError where so many runs cannot be written beneath `root`.

    iterations: of all of them together. Weights come on top: this only finds a disk that is full.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".room"):
            pass
    except OSError as error:
        raise DataError(f"{root}: runs cannot be written there: {error.strerror}") from error
    free = shutil.disk_usage(root).free
    needed = iterations * _BYTES_PER_ITERATION + runs * _BYTES_PER_RUN
    if free < needed:
        raise DataError(
            f"{root}: {free >> 20} MiB are free on its disk, and these runs write at least "
            f"{needed >> 20} MiB"
        )
