"""Files include and import only what lies upstream of them: the rooms and their order."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CSRC = Path(__file__).parents[1] / "csrc"
# What a room may include beside its own headers.
ROOMS = {
    "core": set(),
    "ops": {"core"},
    "graph": {"core", "ops"},
    "layers": {"core", "ops", "graph"},
    "solver": {"core", "ops", "graph"},
    "backends/reference": {"core", "ops"},
    "backends/cpu": {"core", "ops"},
    "backends/onednn": {"core", "ops", "backends/cpu"},
    "backends/cuda": {"core", "ops"},
    "bindings": {"core", "ops", "graph", "layers", "solver"},
}
# Headers of others, and the one room that knows them.
FOREIGN = {
    "dnnl": "backends/onednn",
    "cuda": "backends/cuda",
    "pybind11": "bindings",
    "Python.h": "bindings",
}
# The list of the backends that every build has.
EXCEPT = {
    ("ops/backends.cpp", "backends/cpu/cpu.h"),
    ("ops/backends.cpp", "backends/reference/reference.h"),
}


def room_of(path: str) -> str:
    """ops/op.h -> ops; backends/cpu/kernels/vec.h -> backends/cpu; bindings.cpp -> bindings."""
    parts = path.split("/")
    return "/".join(parts[: 2 if parts[0] == "backends" else 1]).removesuffix(".cpp")


def test_rooms_include_only_what_lies_upstream() -> None:
    wrong, seen = [], set()
    for path in sorted([*CSRC.rglob("*.h"), *CSRC.rglob("*.cpp"), *CSRC.rglob("*.cu")]):
        name = path.relative_to(CSRC).as_posix()
        room = room_of(name)
        seen.add(room)
        for own, other in re.findall(
            r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', path.read_text(), re.M
        ):
            allowed = room_of(own) in {room} | ROOMS[room] or (name, own) in EXCEPT
            if other:
                allowed = all(FOREIGN[f] == room for f in FOREIGN if other.startswith(f))
            if not allowed:
                wrong.append(f"{name} includes {own or other}")
    assert not wrong
    assert seen == set(ROOMS)


PACKAGE = Path(__file__).parents[1] / "pycaffe_clr"
# Each may import from those above it; what type checkers alone see is free. The files beside
# __init__.py count as rooms.
PYTHON_ROOMS = [
    "errors", "version", "atomic", "durations", "native", "core_types", "shaped", "proto",
    "catalog", "prototxt", "weights", "data", "engine", "devices", "python_layer", "hdf5_output",
    "train", "pycaffe", "export", "io", "net_names", "net_spec", "coord_map", "draw", "classifier",
    "detector", "compat", "experiments", "cli", "__main__",
]  # fmt: skip
PYTHON_EXCEPT = {
    # Looks into a file that has the name asked for: is it a solver?
    ("catalog", "prototxt"),
}


def imports_of(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports when it runs, also within functions."""
    tree = ast.parse(path.read_text())
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in unseen:
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and id(node) not in unseen:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_python_rooms_import_only_what_lies_upstream() -> None:
    wrong = []
    rooms = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    rooms |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(PYTHON_ROOMS)
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":  # names are loaded when they are used
            continue
        for module in imports_of(path):
            _, _, inner = module.partition("pycaffe_clr.")
            other = inner.split(".")[0]
            if other not in rooms or (room, other) in PYTHON_EXCEPT:
                continue
            if PYTHON_ROOMS.index(other) > PYTHON_ROOMS.index(room):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert not wrong
