"""The messages under the name that pycaffe's scripts use: caffe.proto.caffe_pb2.

Written by hand: protoc's own caffe_pb2.py would load caffe.proto into protobuf's default pool. The
types beside it (caffe_pb2.pyi) are protoc's.
"""

from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from pycaffe_clr import proto

DESCRIPTOR: Any = proto.NetParameter.DESCRIPTOR.file

__all__ = ["DESCRIPTOR"]

for _name in DESCRIPTOR.message_types_by_name:
    globals()[_name] = proto.message_class(_name)
    __all__ += [_name]
for _name, _enum in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = EnumTypeWrapper(_enum)
    globals().update({value.name: value.number for value in _enum.values})
    __all__ += [_name, *_enum.values_by_name]
