"""Writes pycaffe_clr/_core.pyi, the types of the compiled module, from its signatures.

    python csrc/bindings/make_stub.py

pybind11 puts a signature on top of each docstring, from the C++ types; csrc/bindings/typed.h gives
names to what C++ cannot say. tests/test_types.py fails where the file is not what this makes. What
pybind11 2 and 3 write differently comes out alike.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

STUB = Path(__file__).resolve().parents[2] / "pycaffe_clr" / "_core.pyi"
_MODULE = "pycaffe_clr._core"
_TYPES = "pycaffe_clr.core_types"

_HEAD = '"""Types of the compiled module. Made by csrc/bindings/make_stub.py: do not edit."""'
_WIDTH = 80  # of docstrings, which stand indented
# Taken by number; whatever has __int__ or __float__ would do.
_NUMBERS = {"SupportsInt": "int", "SupportsFloat": "float", "SupportsIndex": ""}
_OLD_NAMES = {"Dict": "dict", "List": "list", "Tuple": "tuple", "Set": "set"}
_ABSTRACT = {"Callable", "Iterable", "Iterator", "Mapping", "Sequence"}
_SPECIAL = {"__init__", "__len__"}


def stub(module: ModuleType) -> str:
    """The text of the stub, as ruff formats it where ruff is there."""
    classes = {name: value for name, value in _public(module) if isinstance(value, type)}
    functions = {name: value for name, value in _public(module) if callable(value)}
    functions = {name: value for name, value in functions.items() if name not in classes}
    types = _Types()
    body: list[ast.stmt] = []
    for name in _bases_first(classes):
        body.append(_class(name, classes[name], types))
    for name, function in functions.items():
        body += _functions(name, function.__doc__, types, [])
    body += _as_value(list(classes), body)
    text = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
    return _formatted("\n\n".join([_HEAD, types.imports(), text]) + "\n")


def _public(holder: Any) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(vars(holder).items()):
        if not name.startswith("_") or (name in _SPECIAL and isinstance(holder, type)):
            yield name, value


def _bases_first(classes: dict[str, type]) -> list[str]:
    return sorted(classes, key=lambda name: (len(classes[name].__mro__), name))


def _class(name: str, made: type, types: _Types) -> ast.ClassDef:
    body = _docstring(made.__doc__)
    for member, value in _public(made):
        if isinstance(value, property):
            body += _property(member, value, types)
        elif callable(value) and (value.__doc__ or "").startswith(f"{member}("):
            body += _functions(member, value.__doc__, types, [])
    bases: list[ast.expr] = [
        ast.Name(base.__name__) for base in made.__bases__ if base.__module__ == _MODULE
    ]
    return ast.ClassDef(
        name=name, bases=bases, keywords=[], body=body or [_dots()], decorator_list=[]
    )


def _functions(
    name: str, doc: str | None, types: _Types, decorators: list[str]
) -> list[ast.FunctionDef]:
    """A function, or one for each of its overloads."""
    text = doc or ""
    if "\nOverloaded function." in text:
        parts = re.split(rf"^\d+\. (?={name}\()", text, flags=re.M)[1:]
        decorators = [*decorators, types.typing("overload")]
    else:
        parts = [text]
    return [_function(part, types, decorators) for part in parts]


def _property(name: str, made: property, types: _Types) -> list[ast.FunctionDef]:
    def of(function: Any, decorator: str, renamed: str) -> ast.FunctionDef:
        signature = str(function.__doc__).strip().splitlines()[0].replace("arg1", renamed)
        return _function(f"{name}{signature}", types, [decorator])

    getter = of(made.fget, "property", "value")
    getter.body = [*_docstring(made.__doc__), *([] if made.__doc__ else [_dots()])]
    if made.fset is None:
        return [getter]
    return [getter, of(made.fset, f"{name}.setter", "value")]


def _function(doc: str, types: _Types, decorators: list[str]) -> ast.FunctionDef:
    """From `name(arg: type = default, ...) -> type`, an empty line, and the description."""
    signature, _, description = doc.strip().partition("\n")
    # What pybind11 prints of a default that is no literal.
    signature = re.sub(r"= <[^>]*>", "= ...", signature)
    (made,) = ast.parse(f"def {signature}: ...").body
    assert isinstance(made, ast.FunctionDef) and made.returns is not None
    args = made.args.args
    if args and args[0].arg in ("self", "arg0"):
        args[0].arg, args[0].annotation = "self", None
    for position, default in enumerate(made.args.defaults, len(args) - len(made.args.defaults)):
        annotation = args[position].annotation
        if isinstance(default, ast.Constant) and default.value is None and annotation is not None:
            args[position].annotation = _optional(annotation)
    for arg in args:
        if arg.annotation is not None:
            arg.annotation = types.visit(arg.annotation)
    made.returns = types.visit(made.returns)
    made.decorator_list = [ast.Name(name) for name in decorators]
    made.body = _docstring(description.strip()) or [_dots()]
    return made


def _as_value(classes: list[str], body: list[ast.stmt]) -> list[ast.stmt]:
    """A protocol with the module's own contents: what a function that gives the module returns."""
    text = ""
    for name in classes:
        text += f"_{name}: TypeAlias = {name}\n"
    text += '@type_check_only\nclass Module(Protocol):\n    """This module as a value."""\n'
    for name in classes:
        text += f"    @property\n    def {name}(self) -> type[_{name}]: ...\n"
    made = ast.parse(text).body
    protocol = made[-1]
    assert isinstance(protocol, ast.ClassDef)
    for function in body:
        if isinstance(function, ast.FunctionDef):
            method = ast.parse(ast.unparse(function)).body[0]
            assert isinstance(method, ast.FunctionDef)
            method.args.args.insert(0, ast.arg("self"))
            protocol.body.append(method)
    return made


def _docstring(text: str | None) -> list[ast.stmt]:
    words = " ".join((text or "").split())
    return [ast.Expr(ast.Constant(textwrap.fill(words, _WIDTH)))] if words else []


def _dots() -> ast.stmt:
    return ast.Expr(ast.Constant(...))


class _Types(ast.NodeTransformer):
    """Brings the types of a signature into the form of a stub, and notes what it has to import."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {
            "typing": {"Protocol", "TypeAlias", "type_check_only"},
        }

    def typing(self, name: str) -> str:
        """A name of typing, which the stub imports."""
        self._names["typing"].add(name)
        return name

    def imports(self) -> str:
        """The statements that import what was met, in isort's order."""
        sections: list[list[str]] = [[], [], []]
        for module, names in sorted(self._names.items()):
            room = module.partition(".")[0]
            section = 2 if room == "pycaffe_clr" else 0 if room in sys.stdlib_module_names else 1
            sections[section].append(f"from {module} import {', '.join(sorted(names, key=_isort))}")
        return "\n\n".join("\n".join(lines) for lines in sections if lines)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        module, _, name = ast.unparse(node).rpartition(".")
        if module == _MODULE:
            return ast.Name(name)
        if module == "typing" and name in _OLD_NAMES:
            return ast.Name(_OLD_NAMES[name])
        if module == "typing" and name in _NUMBERS:
            return ast.Name(_NUMBERS[name] or "int")
        if module == "typing" and name in _ABSTRACT:
            module = "collections.abc"
        self._names.setdefault(module, set()).add(name)
        return ast.Name(name)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in _ABSTRACT:
            self._names.setdefault("collections.abc", set()).add(node.id)
        return ast.Name(_OLD_NAMES.get(node.id, node.id))

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left: ast.expr = self.visit(node.left)
        # A number may be given as whatever has __index__, too: left out.
        if ast.unparse(node.right) == "typing.SupportsIndex":
            return left
        return ast.BinOp(left, ast.BitOr(), self.visit(node.right))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        of = ast.unparse(node.value).rpartition(".")[2]
        if of == "Annotated" and isinstance(node.slice, ast.Tuple):
            inner: ast.expr = self.visit(node.slice.elts[0])
            return inner
        if of == "Optional":
            return _optional(self.visit(node.slice))
        return ast.Subscript(self.visit(node.value), self.visit(node.slice))


def _optional(annotation: ast.expr) -> ast.expr:
    text = ast.unparse(annotation)
    if text.startswith("typing.Optional[") or text.endswith("| None"):
        return annotation
    return ast.BinOp(annotation, ast.BitOr(), ast.Constant(None))


def _isort(name: str) -> tuple[bool, str]:
    return name[0].islower(), name.lower()


def _formatted(text: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", STUB.name, "-"]
    try:
        made = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, cwd=STUB.parent
        )
    except (OSError, subprocess.CalledProcessError):
        return text
    return made.stdout


def main() -> int:
    """Write the file; says whether it was another before."""
    from pycaffe_clr.native import core

    core()
    text = stub(sys.modules[_MODULE])
    same = STUB.exists() and STUB.read_text() == text
    STUB.write_text(text)
    print(f"{STUB}: {'as it was' if same else 'written anew'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
