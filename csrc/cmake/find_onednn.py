"""Print the folder of dnnl.hpp and the path of libdnnl.so.3, one a line.

Their wheels put them under the data folder of whatever prefix they went to: a virtual environment,
the user's folder, or pip's own overlay for an isolated build, which sys.prefix does not show. The
record of installed files knows.
"""

import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


def installed(package: str, name: str) -> Path:
    """Path of the file called `name` that `package` installed; exits with a reason if none."""
    try:
        found = [Path(str(f.locate())).resolve() for f in files(package) or [] if f.name == name]
    except PackageNotFoundError:
        sys.exit(f"Python package {package} is not installed for {sys.executable}")
    # oneDNN has dnnl.hpp twice: the outer one includes the inner one.
    for path in sorted(found, key=lambda p: len(p.parts)):
        if path.is_file():
            return path
    sys.exit(f"Python package {package} holds no {name}")


print(installed("onednn-devel-cpu-gomp", "dnnl.hpp").parent)
print(installed("onednn-cpu-gomp", "libdnnl.so.3"))
