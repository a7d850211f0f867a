"""Files of csrc/ include only what lies upstream of them: the rooms and their order."""

import re
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
    "bindings": {"core", "ops", "graph", "layers", "solver"},
}
# Headers of others, and the one room that knows them.
FOREIGN = {"dnnl": "backends/onednn", "pybind11": "bindings", "Python.h": "bindings"}
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
    for path in sorted([*CSRC.rglob("*.h"), *CSRC.rglob("*.cpp")]):
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
