"""The schema: equal to Caffe's, and alone in its pool."""

import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from pycaffe_clr import proto


def test_messages_are_classes_with_caffes_defaults():
    solver = proto.SolverParameter()
    assert solver.type == "SGD" and solver.clip_gradients == -1 and solver.average_loss == 1
    assert solver.solver_mode == 1 and solver.delta == pytest.approx(1e-8)
    assert proto.LayerParameter().batch_norm_param.eps == pytest.approx(1e-5)
    assert proto.ConcatParameter().axis == 1


def test_extensions_of_the_report_are_there():
    fields = proto.SolverParameter.DESCRIPTOR.fields_by_name
    assert fields["cyclical_momentum"].number == 44
    assert "max_lr" in fields
    assert fields["replicas"].number >= 1000
    assert proto.SolverParameter().replicas == 1


def test_unknown_message_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchParameter"):
        _ = proto.NoSuchParameter


def test_default_pool_stays_free_for_another_caffe():
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")


SCHEMA = Path(__file__).parent / "golden" / "caffe_schema.json"
# Messages of layers that forks of Caffe have.
FORKS = {
    f"{name}_param"
    for name in (
        "annotated_data", "detection_evaluate", "detection_output", "interp", "multibox_loss",
        "norm", "permute", "prior_box", "proposal", "resize", "roi_pooling", "shuffle_channel",
        "smooth_l1_loss",
    )
}  # fmt: skip
FORK_SOLVER = {"eval_type", "ap_version", "show_per_class_result"}
FORK_TRANSFORM = {
    "crop_h", "crop_w", "distort_param", "emit_constraint", "expand_param", "noise_param",
    "resize_param",
}  # fmt: skip


def test_schema_equals_the_one_of_files_in_the_wild():
    """Every message, field, number, label, type, default and packing."""
    schema = json.loads(SCHEMA.read_text())
    kinds = descriptor_pb2.FieldDescriptorProto.Type
    for name, fields in schema["messages"].items():
        ours = {field.name: field for field in proto.message_class(name).DESCRIPTOR.fields}
        required = _required(name)
        for number, label, kind, field_name, *options in fields:
            field = ours.pop(field_name)
            option = options[0] if options else {}
            assert field.number == number, f"{name}.{field_name}"
            assert proto.is_repeated(field) == (label == "repeated")
            assert (field in required) == (label == "required")
            if field.message_type or field.enum_type:
                full = (field.message_type or field.enum_type).full_name
                assert full == f"caffe.{kind}"
            else:
                assert kinds.Name(field.type) == f"TYPE_{kind.upper()}"
            assert field.has_default_value == ("default" in option), f"{name}.{field_name}"
            if "default" in option:
                assert _default(field) == _parsed(option["default"], field)
            assert bool(field.GetOptions().packed) == bool(option.get("packed", False))
        extra = {
            "SolverParameter": {"max_lr", "cyclical_momentum", "replicas", *FORK_SOLVER},
            "BatchNormParameter": {"scale_filler", "bias_filler", "scale_bias"},
            "LayerParameter": FORKS,
            "DropoutParameter": {"scale_train"},
            "TransformationParameter": FORK_TRANSFORM,
        }
        assert set(ours) == extra.get(name, set())
    for name, values in schema["enums"].items():
        enum = proto.POOL.FindEnumTypeByName(f"caffe.{name}")
        assert {value.name: value.number for value in enum.values} == values


def _required(name):
    """Fields that an empty message is reported to lack."""
    message = proto.message_class(name)()
    fields = message.DESCRIPTOR.fields_by_name
    return [fields[missing] for missing in message.FindInitializationErrors()]


def _default(field):
    if field.enum_type:
        return field.enum_type.values_by_number[field.default_value].name
    return field.default_value


def _parsed(text, field):
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return pytest.approx(float(text), rel=1e-6)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return text == "true"
    if field.cpp_type in (field.CPPTYPE_STRING, field.CPPTYPE_ENUM):
        return text
    return int(text)


def test_scripts_for_pycaffe_find_caffe_pb2():
    from google.protobuf import text_format

    from pycaffe_clr.proto import caffe_pb2

    net = text_format.Merge('layer { name: "a" phase: TEST }', caffe_pb2.NetParameter())
    assert net.layer[0].phase == caffe_pb2.TEST
    assert isinstance(net, proto.NetParameter)
    assert caffe_pb2.Phase.Name(0) == "TRAIN"
    assert caffe_pb2.V1LayerParameter.LayerType.Value("CONVOLUTION") == 4
    assert caffe_pb2.V1LayerParameter.RELU == 18
    assert caffe_pb2.Datum(label=3).label == 3
