"""This package under the name `caffe`, so that scripts written for pycaffe run unchanged.

Either `import pycaffe_clr.compat` in front of `import caffe`, or, without touching a script,
`python -m pycaffe_clr.compat script.py ARGUMENTS` and `python -m pycaffe_clr.compat -m module
ARGUMENTS`. As Caffe does, it logs to stderr then; GLOG_minloglevel=2 leaves errors alone.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

from pycaffe_clr.errors import ConfigError

# Modules of Caffe that are loaded by their names, and where they are here.
_MODULES = {
    "caffe": "pycaffe_clr",
    "caffe.classifier": "pycaffe_clr.classifier",
    "caffe.coord_map": "pycaffe_clr.coord_map",
    "caffe.detector": "pycaffe_clr.detector",
    "caffe.draw": "pycaffe_clr.draw",
    "caffe.io": "pycaffe_clr.io",
    "caffe.net_spec": "pycaffe_clr.net_spec",
    "caffe.proto": "pycaffe_clr.proto",
    "caffe.proto.caffe_pb2": "pycaffe_clr.proto.caffe_pb2",
    "caffe.pycaffe": "pycaffe_clr.pycaffe",
    "caffe._caffe": "pycaffe_clr.pycaffe._caffe",
}


def install() -> None:
    """Make `import caffe`, and what lies below it, lead to this package.

    Raises ConfigError where another caffe was imported before.
    """
    for name, own in _MODULES.items():
        module = import_module(own)
        if sys.modules.setdefault(name, module) is not module:
            raise ConfigError(
                f"'{name}' is {sys.modules[name]!r} already; import pycaffe_clr.compat before it"
            )
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    module = import_module("pycaffe_clr.pycaffe.settings")
    level = os.environ.get("GLOG_minloglevel", "0")
    module.init_log(int(level) if level.isdigit() else 0)


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help") or words == ["-m"]:
        print(__doc__)
        return 0 if words[:1] and words[0] != "-m" else 2
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")
    return 0


install()

if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
