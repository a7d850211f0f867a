"""Caffe's protobuf messages, loaded into a descriptor pool of our own.

A second caffe.proto in protobuf's default pool fails (`duplicate symbol 'caffe.Phase'`), so that
this package could not be imported beside Caffe itself or any other reader of its files; private
pools do not see each other.

`caffe.desc` beside this file is caffe.proto compiled by protoc when the package is built. In a
source tree without it the schema is compiled on import, which needs grpcio-tools.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pycaffe_clr import TEST as TEST
from pycaffe_clr import TRAIN as TRAIN
from pycaffe_clr.errors import EngineError

_FOLDER = Path(__file__).parent


def compile_schema(proto_path: Path) -> bytes:
    """Compile a .proto file to the bytes of a FileDescriptorSet.

    Raises EngineError if grpcio-tools is missing or the schema does not compile.
    """
    import tempfile

    try:
        from grpc_tools import protoc
    except ImportError as error:
        raise EngineError(
            f"pycaffe_clr: {proto_path.with_suffix('.desc')} is missing and grpcio-tools, which "
            "could make it, is not installed; reinstall pycaffe_clr or `pip install grpcio-tools`"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "schema.desc"
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={proto_path.parent}",
                f"--descriptor_set_out={output}",
                proto_path.name,
            ]
        )
        if status != 0:
            raise EngineError(f"{proto_path}: protoc could not compile it (status {status})")
        return output.read_bytes()


def _load() -> descriptor_pool.DescriptorPool:
    compiled = _FOLDER / "caffe.desc"
    data = compiled.read_bytes() if compiled.exists() else compile_schema(_FOLDER / "caffe.proto")
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


POOL = _load()


def message_class(name: str) -> Any:
    """The class of the message `name` of package caffe; raises KeyError if there is none."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"caffe.{name}"))


# Any, because the attributes of these classes are made at run time.
BlobProto: Any = message_class("BlobProto")
BlobProtoVector: Any = message_class("BlobProtoVector")
BlobShape: Any = message_class("BlobShape")
Datum: Any = message_class("Datum")
FillerParameter: Any = message_class("FillerParameter")
LayerParameter: Any = message_class("LayerParameter")
NetParameter: Any = message_class("NetParameter")
NetState: Any = message_class("NetState")
NetStateRule: Any = message_class("NetStateRule")
ParamSpec: Any = message_class("ParamSpec")
SolverParameter: Any = message_class("SolverParameter")
SolverState: Any = message_class("SolverState")
TransformationParameter: Any = message_class("TransformationParameter")
V1LayerParameter: Any = message_class("V1LayerParameter")
V0LayerParameter: Any = message_class("V0LayerParameter")


def is_repeated(field: Any) -> bool:
    """Whether a FieldDescriptor is repeated; older protobuf packages say so by its label."""
    try:
        return bool(field.is_repeated)
    except AttributeError:
        return bool(field.label == field.LABEL_REPEATED)


def phase_name(phase: int) -> str:
    """`TRAIN` or `TEST`."""
    return "TRAIN" if phase == TRAIN else "TEST"


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    if name == "caffe_pb2":
        return import_module(f"{__name__}.caffe_pb2")
    try:
        return message_class(name)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no message {name!r}") from None
