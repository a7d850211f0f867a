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
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from pycaffe_clr import TEST as TEST
from pycaffe_clr import TRAIN as TRAIN
from pycaffe_clr.errors import EngineError

if TYPE_CHECKING:  # made by __getattr__ below
    from pycaffe_clr.proto import caffe_pb2 as caffe_pb2
    from pycaffe_clr.proto.caffe_pb2 import AnnotatedDatum as AnnotatedDatum
    from pycaffe_clr.proto.caffe_pb2 import BlobProto as BlobProto
    from pycaffe_clr.proto.caffe_pb2 import BlobProtoVector as BlobProtoVector
    from pycaffe_clr.proto.caffe_pb2 import BlobShape as BlobShape
    from pycaffe_clr.proto.caffe_pb2 import Datum as Datum
    from pycaffe_clr.proto.caffe_pb2 import FillerParameter as FillerParameter
    from pycaffe_clr.proto.caffe_pb2 import LayerParameter as LayerParameter
    from pycaffe_clr.proto.caffe_pb2 import NetParameter as NetParameter
    from pycaffe_clr.proto.caffe_pb2 import NetState as NetState
    from pycaffe_clr.proto.caffe_pb2 import NetStateRule as NetStateRule
    from pycaffe_clr.proto.caffe_pb2 import ParamSpec as ParamSpec
    from pycaffe_clr.proto.caffe_pb2 import SolverParameter as SolverParameter
    from pycaffe_clr.proto.caffe_pb2 import SolverState as SolverState
    from pycaffe_clr.proto.caffe_pb2 import TransformationParameter as TransformationParameter
    from pycaffe_clr.proto.caffe_pb2 import V0LayerParameter as V0LayerParameter
    from pycaffe_clr.proto.caffe_pb2 import V1LayerParameter as V1LayerParameter

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


def message_class(name: str) -> type[Message]:
    """The class of the message `name` of package caffe; raises KeyError if there is none."""
    made: type[Message] = message_factory.GetMessageClass(
        POOL.FindMessageTypeByName(f"caffe.{name}")
    )
    return made


def is_repeated(field: Any) -> bool:
    """Whether a FieldDescriptor is repeated; older protobuf packages say so by its label."""
    try:
        return bool(field.is_repeated)
    except AttributeError:
        return bool(field.label == field.LABEL_REPEATED)


def phase_name(phase: int) -> str:
    """`TRAIN` or `TEST`."""
    return "TRAIN" if phase == TRAIN else "TEST"


if not TYPE_CHECKING:  # a checker shall know a name that is not there

    def __getattr__(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name == "caffe_pb2":
            return import_module(f"{__name__}.caffe_pb2")
        try:
            value = message_class(name)
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no message {name!r}") from None
        globals()[name] = value
        return value
