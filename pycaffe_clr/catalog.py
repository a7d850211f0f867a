"""The solvers and nets that ship with the package, and where a name or path leads.

In the wheel they lie in pycaffe_clr/nets/{solvers,prototxt}; in a source tree in solvers/ and
prototxt/ beside the package. Both keep the two folders side by side, so that a solver's
`net: "prototxt/lenet.prototxt"` is found from the folder above the solver.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from pycaffe_clr.errors import ConfigError

SUFFIX = ".prototxt"


def shipped_folder(kind: str) -> Path | None:
    """The folder of what ships with the package; kind: "solvers" or "prototxt". None: not there."""
    package = Path(__file__).resolve().parent
    for folder in (package / "nets" / kind, package.parent / kind):
        if any(folder.glob(f"*{SUFFIX}")):
            return folder
    return None


def is_shipped(path: str | Path, kind: str = "solvers") -> bool:
    """Whether this very file ships with the package; kind as for shipped_folder."""
    folder = shipped_folder(kind)
    return folder is not None and Path(path).resolve().parent == folder


def find_solver(name: str | Path) -> Path:
    """The file of a solver given by path, or by name if it ships with the package.

    A path counts from the working directory, with or without .prototxt; what is not there is looked
    for among the shipped solvers: `lenet_1cycle`, `solvers/lenet_1cycle.prototxt`. Raises
    ConfigError that lists near names.
    """
    return _find(name, "solvers", "solver", [])


def find_net(
    name: str | Path, solver: Path | None = None, field: tuple[str, str] | None = None
) -> Path:
    """The file of a net given by path, or by name if it ships with the package.

    As find_solver; a net that a solver names is also looked for in the solver's own folder and the
    one above it, before the shipped ones. field: the solver's field that names the net, and where
    it stands, for errors. Raises ConfigError that lists near names.
    """
    folders: list[Path] = []
    if solver is not None:
        folder = solver.resolve().parent
        folders = [folder, folder.parent]
    return _find(name, "prototxt", "net", folders, field)


def solvers() -> dict[str, str]:
    """Names of the shipped solvers, each with its file's opening comment in one line."""
    return {path.stem: describe(path) for path in _shipped("solvers")}


def nets() -> dict[str, str]:
    """Names of the shipped nets, each with its file's opening comment in one line."""
    return {path.stem: describe(path) for path in _shipped("prototxt")}


def describe(path: Path) -> str:
    """The comment at the top of a prototxt file, in one line; empty if it has none."""
    words: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            words += line.lstrip("#").split()
    return " ".join(words)


def _shipped(kind: str) -> list[Path]:
    folder = shipped_folder(kind)
    return sorted(folder.glob(f"*{SUFFIX}")) if folder else []


def _find(
    name: str | Path,
    kind: str,
    word: str,
    folders: list[Path],
    field: tuple[str, str] | None = None,
) -> Path:
    wanted = Path(name)
    where = "" if field is None else f"{field[1]}: "
    if not wanted.name:
        raise ConfigError(f"{where}{str(name)!r} does not name a {word}; expected a file or a name")
    shown = str(name) if len(str(name)) <= 200 else f"{str(name)[:200]}..."
    try:
        for candidate in _candidates(wanted, kind, folders):
            # A net and a solver may have one name, and the solver lies here or beside the other.
            complete = candidate.name == wanted.name
            if candidate.is_file() and (
                complete or kind != "prototxt" or not _is_solver(candidate)
            ):
                return candidate
        if wanted.is_dir():
            raise ConfigError(f"{where}{shown}: is a folder; expected a {word} prototxt")
    except (OSError, ValueError) as error:  # too long for a file name, no right to look
        raise ConfigError(f"{where}{shown}: cannot be the name of a {word}: {error}") from error
    near = _near(wanted, kind)
    if field is not None:
        tried = dict.fromkeys(str(folder / wanted) for folder in [Path(), *folders])
        raise ConfigError(
            f"{where}{field[0]} file is not there; tried {', '.join(tried)} and the nets that "
            f"ship. {near} Give another with --set {field[0]}=FILE"
        )
    raise ConfigError(
        f"{shown}: no such {word} file, and no {word} of that name ships with pycaffe_clr. {near}"
    )


def _candidates(wanted: Path, kind: str, folders: list[Path]) -> Iterator[Path]:
    named = wanted if wanted.suffix == SUFFIX else wanted.with_name(wanted.name + SUFFIX)
    roots = [Path(), *folders]
    shipped = shipped_folder(kind)
    if shipped and not wanted.is_absolute():
        roots += [shipped, shipped.parent]
    for root in roots:
        yield root / wanted
        yield root / named


def _is_solver(path: Path) -> bool:
    from pycaffe_clr.prototxt.files import is_solver

    return is_solver(path)


def _near(wanted: Path, kind: str) -> str:
    names = [path.stem for path in _shipped(kind)]
    near = difflib.get_close_matches(wanted.stem, names, n=3, cutoff=0.5)
    near += [name for name in names if name.startswith(wanted.stem) and name not in near][:5]
    if near:
        return f"Did you mean {', '.join(near)}?"
    if not names:
        return "Give the path of a prototxt file."
    return "`pycaffe_clr list` names them."
