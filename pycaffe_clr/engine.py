"""From an upgraded NetParameter to a core Net: specs, records and means, settings."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Union, cast

import numpy as np

from pycaffe_clr.data import RecordStream, Share, open_source, read_mean, resolve
from pycaffe_clr.data import Source as RecordSource
from pycaffe_clr.data.file_feeds import PARAMS, FileFeeds
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.native import check_fork, core, name_gpu_libraries, note_threads
from pycaffe_clr.prototxt import Source, layer_specs, schema

if TYPE_CHECKING:
    from pycaffe_clr._core import Module, Net, RecordFeed
    from pycaffe_clr.core_types import LayerFeed, LayerSpec, NetSettings
    from pycaffe_clr.core_types import RecordSource as StreamSource
    from pycaffe_clr.proto import NetParameter

_log = logging.getLogger(__name__)
# Records that a database is read for to see how fast it is.
_RATED = 256


def ready_core() -> Module:
    """The compiled module, with the schema of defaults handed over.

    Raises EngineError where it cannot be loaded, or not be used since the process was forked.
    """
    check_fork()
    return _with_schema()


@cache
def _with_schema() -> Module:
    module = core()
    module.set_schema(schema())
    return module


def backend_of(device: str, described: bool = False) -> str:
    """The backend that a device means: "cpu" is the fastest of those that work here. described:
    the device itself need not be there, for nets that are only looked at.

    Warns once of each backend that was tried and cannot be loaded, and of one whose libraries are
    not those it was measured with. Raises ConfigError for an
    unknown device, or one whose backend is not there.
    """
    module = ready_core()
    if device.startswith("cuda"):
        name_gpu_libraries()
    name = module.backend_of(device, described)
    for problem in module.backend_problems():
        _warn(f"{problem}. Until then device cpu means kernels of our own alone")
    for remark in module.backend_remarks():
        _warn(remark)
    return name


@cache
def _warn(message: str) -> None:
    _log.warning("%s", message)


def new_seed() -> int:
    """A seed from the system, 0 to 2**31 - 1."""
    return int.from_bytes(os.urandom(4), "little") >> 1


class Records:
    """Databases by path, opened once: a train and a test net may read the same one.

    data_dir: where relative paths are looked up after the working directory.
    """

    def __init__(self, data_dir: str | Path | None = None) -> None:
        self.data_dir = data_dir
        # Where each database was found, by the name that the net has for it.
        self.paths: dict[str, Path] = {}
        self._sources: dict[tuple[Path, bool | None], RecordSource] = {}
        # Those of FileFeeds.
        self.readers: dict[Path, Callable[[int], object]] = {}

    def feed(
        self,
        settings: Mapping[str, Any],
        where: str,
        color: bool | None = None,
        share: Share | None = None,
    ) -> RecordFeed:
        """A core RecordFeed over the database of a data_param.

        color: what compressed images become, True: three channels, False: one, None: their own.
        share: what of each batch the net takes, where that is not all.
        Raises DataError if it is missing or broken, ConfigError if no source is named.
        """
        if "source" not in settings:
            raise ConfigError(f"{where}: data_param needs a source, the path of a database")
        path = resolve(settings["source"], self.data_dir, "database")
        self.paths[settings["source"]] = path
        key = path, color
        if key not in self._sources:
            self._sources[key] = open_source(path, color)
        source = self._sources[key]
        if color is not None and not source.encoded:
            _log.warning(
                "%s: %s counts for compressed images only, and %s holds others",
                where,
                "force_color" if color else "force_gray",
                path,
            )
        held = source.held
        module = ready_core()
        if held is not None:
            return module.ArrayFeed(held.data, held.labels)
        return module.StreamFeed(RecordStream(source, share=share))

    def rates(self) -> dict[Path, float]:
        """Records that each database, or list of pictures, gives in a second, decoded where they
        are compressed; of those that are not held in memory."""
        found = {}
        for path, read in self.readers.items():
            begin = perf_counter()
            read(_RATED)
            found[path] = _RATED / (perf_counter() - begin)
        for (path, _), source in self._sources.items():
            if source.held is None:
                count = min(len(source), _RATED)
                begin = perf_counter()
                source.read(0, count)
                found[path] = count / (perf_counter() - begin)
        return found

    def mean(self, name: str, shape: tuple[int, int, int]) -> np.ndarray:
        """The mean image of a transform_param's mean_file, float32 (C, H, W)."""
        return read_mean(resolve(name, self.data_dir, "mean file"), shape)


def _last(message: Any) -> Mapping[str, Any]:
    last: Mapping[str, Any] = message[-1] if isinstance(message, list) else message
    return last


def _forced_color(transform: Mapping[str, Any], where: str) -> bool | None:
    """What force_color and force_gray make of compressed images (data_transformer.cpp)."""
    color, gray = transform.get("force_color", False), transform.get("force_gray", False)
    if color and gray:
        raise ConfigError(f"{where}: transform_param sets both force_color and force_gray")
    return bool(color) if color or gray else None


@contextmanager
def _of_layer(where: str) -> Iterator[None]:
    """Names the layer in an error about its files that does not."""
    try:
        yield
    except (ConfigError, DataError) as error:
        if where in str(error):
            raise
        raise type(error)(f"{where}: {error}") from error


# A core feed, arrays by the names of fields, or an object that gives records batch by batch.
FeedSource = Union["RecordFeed", Mapping[str, Any], "StreamSource"]


def record_feed(source: FeedSource) -> RecordFeed:
    """A core feed over what a program has: see FeedSource. Raises DataError for unfit arrays."""
    module = ready_core()
    if isinstance(source, module.RecordFeed):
        return source
    if isinstance(source, Mapping):
        return module.ArrayFeed({name: np.asarray(array) for name, array in source.items()})
    return module.StreamFeed(cast("StreamSource", source))


def layer_feed(
    spec: LayerSpec,
    records: Records,
    given: FeedSource | None = None,
    share: Share | None = None,
    seed: int = 1,
) -> LayerFeed | None:
    """What a layer that reads records gets; None for every other layer. given: a Data layer's, in
    place of a database. share: see Records.feed. seed: of orders that are random."""
    attributes = spec["attributes"]
    where = f"{spec['where']}: layer '{spec['name']}'"
    transform = _last(attributes.get("transform_param", {}))
    feed = None
    if given is not None:
        if spec["type"] != "Data":
            raise ConfigError(f"{where}: only Data layers are fed, this is of type {spec['type']}")
        feed = record_feed(given)
    elif spec["type"] == "Data":
        color = _forced_color(transform, where)
        of_share = {} if share is None else {"share": share}
        feed = records.feed(_last(attributes.get("data_param", {})), where, color, **of_share)
    elif spec["type"] == "MemoryData":
        # The arrays come later, by set_input_arrays; until then there is one batch of zeros.
        memory = _last(attributes.get("memory_data_param", {}))
        dims = [int(memory.get(n, 0)) for n in ("batch_size", "channels", "height", "width")]
        if min(dims) <= 0:
            raise ConfigError(
                f"{where}: memory_data_param needs batch_size, channels, height and width above 0"
            )
        if math.prod(dims) >= 2**31:
            raise ConfigError(f"{where}: a batch of {dims} would have 2^31 or more elements")
        feed = ready_core().ArrayFeed(np.zeros(dims, np.float32))
    elif spec["type"] in PARAMS:
        settings = _last(attributes.get(PARAMS[spec["type"]], {}))
        files = FileFeeds(records.data_dir, seed)
        if spec["type"] in ("InfogainLoss", "DetectionEvaluate"):
            table = files.table(settings)
            return None if table is None else (None, table)
        feed = record_feed(files.open(spec, settings, transform, share))
        records.readers |= files.readers
    if feed is None:
        return None
    mean = None
    # The layer itself refuses one for records that are no pictures.
    if "mean_file" in transform and spec["type"] != "WindowData" and len(feed.shape) == 3:
        channels, height, width = feed.shape
        mean = records.mean(transform["mean_file"], (channels, height, width))
    return feed, mean


def loss_weights(net: Net) -> dict[str, float]:
    """Loss weight of each top of a core Net, 0 for those that are no loss."""
    return {
        name: weight
        for row in net.layers()
        for name, weight in zip(row["tops"], row["loss_weights"], strict=True)
    }


def build_net(
    net: NetParameter,
    *,
    phase: int | None = None,
    level: int = 0,
    stages: Sequence[str] = (),
    device: str = "cpu",
    described: bool = False,
    dtype: str = "float32",
    precision: str | None = None,
    fuse: bool = False,
    keep: Sequence[str] = (),
    replicas: int = 1,
    rank: int = 0,
    ranks: int = 1,
    seed: int = 1,
    index: int = 0,
    records: Records | None = None,
    feeds: Mapping[str, FeedSource] | None = None,
    share: Net | None = None,
    source: Source | None = None,
) -> tuple[Net, dict[str, RecordFeed]]:
    """Build a core Net: (net, feeds by layer name).

    net: upgraded NetParameter; phase, level and stages as in layer_specs. share: a core Net whose
    parameters are used. index: 0 for the train net, 1 + i for test net i (it keys the random
    numbers). rank, ranks: of the processes that train it together, this one's number and how many
    they are; replicas: of each. described: the net is only looked at, and its device need not be
    there. precision: what convolutions and matrix products multiply, "fp32", "tf32" or "bf16";
    None: tf32 on device cuda, fp32 elsewhere, which have no other. feeds: records for Data layers,
    by their names, in place of databases: arrays {field: (n, ..)}, or an object with fields {name:
    shape}, next(count) -> {name: array}, position and seek(position); each top takes the field of
    its name. source: where the net was read from, for errors. Raises ConfigError and DataError.
    """
    module = ready_core()
    note_threads(module)
    specs = layer_specs(net, phase, level, stages, source)
    records = records or Records()
    given = feeds or {}
    unknown = sorted(set(given) - {spec["name"] for spec in specs})
    if unknown:
        raise ConfigError(f"feeds: the net has no layer '{unknown[0]}' to feed")
    part = Share(rank * replicas, replicas, ranks * replicas) if ranks > 1 else None
    taken: dict[str, LayerFeed] = {}
    for spec in specs:
        with _of_layer(f"{spec['where']}: layer '{spec['name']}'"):
            feed = layer_feed(spec, records, given.get(spec["name"]), part, seed)
        if feed is not None:
            taken[spec["name"]] = feed
        if spec["type"] == "AnnotatedData":  # its records have all that these say
            for name in ("transform_param", "annotated_data_param"):
                spec["attributes"].pop(name, None)
    train = (net.state.phase if phase is None else phase) == 0
    settings: NetSettings = {
        "train": train,
        "backend": backend_of(device, described),
        "described": described,
        "dtype": dtype,
        "precision": precision or "",
        "fuse": fuse,
        "keep": list(keep),
        "replicas": replicas,
        "rank": rank,
        "ranks": ranks,
        "seed": seed,
        "index": index,
        "force_backward": bool(net.force_backward),
    }
    made = module.Net(specs, settings, taken, share)
    for warning in made.warnings():
        _log.warning("%s", warning)
    if made.fallbacks():
        _log.warning("run by the reference backend: %s", ", ".join(made.fallbacks()))
    return made, {name: feed for name, (feed, _) in taken.items() if feed is not None}
