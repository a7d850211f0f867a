"""Records for training and testing: databases, the sets they are made from, reading ahead."""

from pycaffe_clr.data.feeder import Share
from pycaffe_clr.data.mean import read_mean
from pycaffe_clr.data.resolve import resolve
from pycaffe_clr.data.sources import Held, LmdbSource, Source, open_source
from pycaffe_clr.data.stream import RecordStream

__all__ = [
    "Held",
    "LmdbSource",
    "RecordStream",
    "Share",
    "Source",
    "open_source",
    "read_mean",
    "resolve",
]
