"""What type checkers and editors are told: the compiled module's stub, rows, the public names."""

import ast
import importlib.util
import os
import re
import site
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pytest

import pycaffe_clr
from pycaffe_clr import core_types, proto
from pycaffe_clr.engine import build_net, ready_core
from pycaffe_clr.net_names import LayerNames, ParameterNames
from pycaffe_clr.net_spec import param_name_dict
from pycaffe_clr.prototxt import layer_specs, parse_net, spec
from pycaffe_clr.train.schedule import CORE_FIELDS

PACKAGE = Path(pycaffe_clr.__file__).parent
BINDINGS = Path(__file__).parents[1] / "csrc" / "bindings"
NET = """
name: "types"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  param { name: "shared" } inner_product_param { num_output: 3 } }
layer { name: "out" type: "Softmax" bottom: "fc" top: "out" loss_weight: 1 }
"""


def make_stub() -> Any:
    """The script that writes the stub."""
    spec = importlib.util.spec_from_file_location("make_stub", BINDINGS / "make_stub.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_that_of_the_compiled_module() -> None:
    made = make_stub().stub(ready_core())
    there = (PACKAGE / "_core.pyi").read_text()
    # The layout is ruff's, which need not be here.
    assert ast.dump(ast.parse(there)) == ast.dump(ast.parse(made)), (
        "the bindings have other signatures than pycaffe_clr/_core.pyi: "
        "python csrc/bindings/make_stub.py"
    )


def test_a_changed_binding_makes_another_stub() -> None:
    script = make_stub()

    class Module:
        def __init__(self, doc: str) -> None:
            def function() -> None: ...

            function.__doc__ = doc
            self.function = function

    def text(doc: str) -> str:
        return str(script.stub(Module(doc))).partition("@type_check_only")[0]

    now = text("function(count: typing.SupportsInt | typing.SupportsIndex) -> list[str]\n\nDoes.")
    assert "def function(count: int) -> list[str]:" in now and '"""Does."""' in now
    # As pybind11 2 writes it.
    assert now == text("function(count: int) -> List[str]\n\nDoes.")
    assert now != text("function(count: int) -> list[int]\n\nDoes.")
    assert now != text("function(counts: int) -> list[str]\n\nDoes.")
    optional = text("function(a: typing.Optional[pycaffe_clr.core_types.Values] = None) -> None")
    assert "from pycaffe_clr.core_types import Values" in optional
    assert "def function(a: Values | None = None) -> None: ..." in optional
    overloaded = text(
        "function(*args, **kwargs)\nOverloaded function.\n\n"
        "1. function() -> float\n\nOne.\n\n2. function(a: str) -> float\n\nTwo.\n"
    )
    assert overloaded.count("@overload") == 2 and '"""Two."""' in overloaded


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a class, a list of one, or a dict with declared keys."""
    if get_origin(hint) is list:
        return type(value) is list and all(fits(each, get_args(hint)[0]) for each in value)
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        return value.keys() == hints.keys() and all(fits(value[k], hints[k]) for k in hints)
    return type(value) is hint


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (core_types.LayerRow, "layers"),
        (core_types.ParamRow, "params"),
        (core_types.PlanRow, "plan"),
    ],
)
def test_rows_have_the_keys_and_types_that_are_declared(kind: type, rows: str) -> None:
    net, _ = build_net(parse_net(NET), phase=0, seed=1)
    found = getattr(net, rows)()
    hints = get_type_hints(kind)
    assert found and all(row.keys() == hints.keys() for row in found)
    wrong = [(key, row[key]) for row in found for key in row if not fits(row[key], hints[key])]
    assert not wrong


def test_what_the_core_is_given_is_as_declared() -> None:
    (spec, *_) = layer_specs(parse_net(NET), phase=0)
    assert spec.keys() == get_type_hints(core_types.LayerSpec).keys()
    if not BINDINGS.is_dir():
        pytest.skip("no sources of the bindings here")
    for file, kinds in (
        ("net.cpp", [core_types.NetSettings]),
        ("solver.cpp", [core_types.SolverSettings]),
    ):
        source = (BINDINGS / file).read_text()
        read = set(re.findall(r'take<[^(]*>\(\s*settings, "(\w+)"', source))
        assert read == {key for kind in kinds for key in get_type_hints(kind)}, file
    assert set(CORE_FIELDS) == set(get_type_hints(core_types.SolverSettings))


def test_values_are_arrays_of_floats() -> None:
    for dtype in (np.float32, np.float64):
        net, _ = build_net(
            parse_net(NET), phase=0, seed=1, device="reference", dtype=np.dtype(dtype).name
        )
        for values in (net.data("fc"), net.diff("fc"), net.param_data(0), net.param_diff(0)):
            assert isinstance(values, np.ndarray) and values.dtype == dtype


# --- messages -------------------------------------------------------------------------------------

_SCALARS = {"int": "int", "float": "float", "bool": "bool", "string": "str", "bytes": "bytes"}


def dotted(descriptor: Any) -> str:
    """A message's or enum's name in the stub."""
    return str(descriptor.full_name).removeprefix("caffe.")


def type_of(field: Any) -> str:
    """What the stub should say of a field."""
    if field.message_type is not None:
        kind, container = dotted(field.message_type), "RepeatedCompositeFieldContainer"
    else:
        container = "RepeatedScalarFieldContainer"
        kind = dotted(field.enum_type) if field.enum_type else _SCALARS[spec.kind_of(field)]
    return f"_containers.{container}[{kind}]" if proto.is_repeated(field) else kind


def test_the_types_of_messages_are_those_of_the_schema() -> None:
    tree = ast.parse((PACKAGE / "proto" / "caffe_pb2.pyi").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    file = proto.NetParameter.DESCRIPTOR.file
    assert set(classes) == {*file.message_types_by_name, *file.enum_types_by_name}
    for name, descriptor in file.message_types_by_name.items():
        nested = {enum.name for enum in descriptor.enum_types}
        values = {value.name for enum in descriptor.enum_types for value in enum.values}
        said = {
            node.target.id: ast.unparse(node.annotation)
            for node in classes[name].body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        fields = {key: value for key, value in said.items() if not key.endswith("_FIELD_NUMBER")}
        wanted = {field.name: type_of(field) for field in descriptor.fields}
        assert {k: v for k, v in fields.items() if k not in values} == wanted, (
            f"{name}: python -m grpc_tools.protoc -Ipycaffe_clr/proto "
            "--pyi_out=pycaffe_clr/proto caffe.proto"
        )
        assert nested == {n.name for n in classes[name].body if isinstance(n, ast.ClassDef)}


def test_an_editor_knows_the_types_of_layers_and_their_messages() -> None:
    assert set(LayerNames.__annotations__) == set(pycaffe_clr.layer_type_list())
    assert set(ParameterNames.__annotations__) == set(param_name_dict())


# --- what mypy makes of the public names ----------------------------------------------------------

REVEALED = {
    "caffe.Net('net.prototxt', caffe.TEST)": "Net",
    "net.blobs": "OrderedDict[str, Blob]",
    "net.blobs['data'].data": "ndarray[tuple[Any, ...], dtype[Any]]",
    "net.params['fc'][0].shape": "tuple[int, ...]",
    "net.layers[0].type": "str",
    "net.forward()": "dict[str, ndarray[tuple[Any, ...], dtype[Any]]]",
    "caffe.get_solver('solver.prototxt')": "Solver",
    "caffe.SGDSolver('solver.prototxt').net": "Net",
    "caffe.SGDSolver('solver.prototxt').iter": "int",
    "caffe.SGDSolver('solver.prototxt').param.base_lr": "float",
    "caffe.proto.caffe_pb2.NetParameter().layer[0].bottom": "RepeatedScalarFieldContainer[str]",
    "caffe.prototxt.read_net('net.prototxt').layer[0].name": "str",
    "caffe.layer_type_list()": "list[str]",
    "caffe.layers.Convolution": "LayerFunction",
    "caffe.params.Pooling.MAX": "PoolingParameter.PoolMethod",
    "caffe.Schedule('solver.prototxt').lr(0)": "float",
    "caffe.run('lenet_sample', out='here', max_iter=20)": "RunResult",
    "caffe.read_run('here').final_accuracy": "float",
    "caffe.read_log('train.log')": "RunResult",
    "caffe.evaluate('net.prototxt', 'a.caffemodel')": "dict[str, float]",
    "ready_core().Net": "type[Net]",
    "ready_core().threads()": "int",
    "built.layers()[0]['tops']": "list[str]",
    "built.test(1)": "tuple[list[list[float]], float, int]",
    "built.param_data(0)": "ndarray[tuple[Any, ...], dtype[floating[Any]]]",
}
SCRIPT = """
import pycaffe_clr as caffe
from pycaffe_clr.engine import build_net, ready_core
from pycaffe_clr.prototxt import parse_net

net = caffe.Net("net.prototxt", caffe.TEST)
built, feeds = build_net(parse_net("net.prototxt"))
"""
WRONG = {
    "caffe.Nett": 'Module has no attribute "Nett"',
    "ready_core().Nett": 'has no attribute "Nett"',
    "built.layers()[0]['top']": 'has no key "top"',
    "caffe.proto.NetParameter().leyer": '"NetParameter" has no attribute "leyer"',
    "caffe.proto.caffe_pb2.Nett": 'Module has no attribute "Nett"',
    "built.forward('conv1', 'conv2')": "No overload variant",
    "caffe.Schedule('solver.prototxt').lr('first')": "incompatible type",
}


def checked(code: str, folder: Path, cache: Path) -> list[str]:
    """What mypy says of a script that uses the package, by line."""
    pytest.importorskip("mypy")
    (folder / "script.py").write_text(code)
    environment = dict(os.environ)
    if str(PACKAGE.parent) not in map(str, [*site.getsitepackages(), site.getusersitepackages()]):
        environment["MYPYPATH"] = str(PACKAGE.parent)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-error-summary"]
    command += ["--config-file=", "--cache-dir", str(cache), "script.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_an_editor_knows_the_types_of_the_public_names(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    names = [f"caffe.{name}" for name in pycaffe_clr.__all__] + ["caffe.__version__"]
    lines = [f"reveal_type({text})" for text in [*REVEALED, *names]]
    lines += WRONG
    begin = SCRIPT.count("\n") + 1
    cache = pytestconfig.cache.mkdir("mypy") if pytestconfig.cache else tmp_path
    said: dict[int, str] = {}
    for line in checked(SCRIPT + "\n".join(lines) + "\n", tmp_path, cache):
        place, _, text = line.partition(": ")
        number = int(place.rpartition(":")[2])
        said.setdefault(number - begin, text)
    assert min(said) >= 0, said
    for position, (text, wanted) in enumerate(REVEALED.items()):
        revealed = re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", said[position])
        assert f'Revealed type is "{wanted}"' in revealed, text
    for position, name in enumerate(names, len(REVEALED)):
        assert "Revealed type is" in said[position], said[position]
        assert 'is "Any"' not in said[position], name
    for position, (text, wanted) in enumerate(WRONG.items(), len(REVEALED) + len(names)):
        assert "error" in said[position] and wanted in said[position], (text, said[position])
