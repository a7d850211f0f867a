"""Parsing and writing prototxt text: equal to protobuf's own reader, with errors that help."""

from __future__ import annotations

import gc
import random
import weakref
from pathlib import Path

import pytest
from google.protobuf import text_format

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import format_message, parse_text
from pycaffe_clr.prototxt.source import nowhere
from pycaffe_clr.prototxt.text import parse_located
from pycaffe_clr.prototxt.writer import format_float

FILES = Path(__file__).parent / "golden" / "files"


def parse(text: str, defines=None):
    return parse_text(text, proto.NetParameter, "net.prototxt", defines)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        'name: "a" # then a comment\n',
        "name: 'it\\'s' \"\\n\\x41\\101\"",
        "input_dim: [1, 2, 3]; input_dim: 0x1F, input_dim: 017 input_dim: -5",
        'layer < name: "a" type: "b" >',
        "layer: { loss_weight: .5 loss_weight: 1. loss_weight: 2e-3f loss_weight: -inf }",
        "layer [{ name: 'a' }, { name: 'b' }]",
        "state { phase: TRAIN } force_backward: t debug_info: 0",
        "state { phase: 1 level: -3 }",
        "input_shape { } input_shape { dim: [] }",
    ],
)
def test_text_is_read_as_protobuf_reads_it(text):
    assert parse(text) == text_format.Parse(text, proto.NetParameter())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer { nam: 'a' }", '1:9: LayerParameter has no field "nam"; did you mean name?'),
        ("base_lr: 1", '1:1: NetParameter has no field "base_lr"; it belongs in a solver file'),
        ("layer {\n kernel_size: 3 }", "2:2: .*it belongs in convolution_param or pooling_param"),
        ("layer { video_data_param { } }", "1:9: .*it belongs to the SSD fork"),
        ("layer { convolution_param { engine: MKLDNN } }", "1:37: .*Intel's fork"),
        ("layer { name: }", '1:15: LayerParameter.name takes a string in quotes, came "}"'),
        ("layer { name: conv1 }", '1:15: .*takes a string in quotes, came "conv1"'),
        ("layer { name: 'a'", '1:18: "}" is missing for the block opened at net.prototxt:1:7'),
        ("layer { } }", '1:11: expected a field\'s name, came "}"'),
        ("layer: 5", '1:8: expected "{" after layer, came "5"'),
        ("name 'a'", '1:6: expected ":" after name'),
        ("name: 'a' name: 'b'", '1:11: "name" is set twice; it was set at net.prototxt:1:1'),
        ("state { } state { }", '1:11: "state" is set twice'),
        ("force_backward: 7", "1:17: .*takes true or false"),
        ("state { phase: TRIAN }", "1:16: .*takes one of TRAIN, TEST"),
        ("state { phase: 2 }", "1:16: .*takes one of TRAIN, TEST"),
        ("layers { type: CONVOLUTIO }", "1:16: .*takes a LayerType like CONVOLUTION"),
        (
            'layers {\n type: "Input" }',
            '2:8: "layers" takes enum names, came "Input": it has none for it; use today\'s '
            'form, which takes strings: layer { type: "Input" }',
        ),
        (
            "layers { type: 'Convolution' }",
            "1:16: .*came 'Convolution': write CONVOLUTION .*: layer { type: \"Convolution\" }",
        ),
        ('layers { type: "CONVOLUTION" }', "1:16: .*: write CONVOLUTION without quotes"),
        ('layers { type: "" }', '1:16: "layers" takes enum names, came "": it has none'),
        ("layer { type: RELU }", '1:15: "layer" takes strings, came RELU: write "ReLU"'),
        ("layer { type: Relu }", '1:15: LayerParameter.type takes a string in quotes, came "Relu"'),
        ("input_dim: 1.5", '1:12: NetParameter.input_dim takes a whole number, came "1.5"'),
        ("input_dim: 99999999999", "1:12: .*a whole number from -2147483648 to 2147483647"),
        ("layer { data_param { batch_size: -1 } }", "1:34: .*from 0 to 4294967295"),
        ("layer { loss_weight: 0x1 }", "1:22: .*takes a number"),
        ("input_dim: 3abc", "1:12: '3abc' is not a number"),
        ("input_dim: [1, 2", '1:17: expected "," or "]"'),
        ('name: "abc\n"', "1:7: the string that starts here has no closing"),
        ("name: '\\q'", "1:7: .*unknown escape"),
        ("name: '\\377'", "1:7: .*utf-8"),
        ("// no", "1:1: comments start with #"),
        ("name: 'a' @", "1:11: unexpected character '@'"),
        ("name: \x07", "1:7: .*is this a binary file"),
        (
            "layer { name: 'c' clip_param { min: 1 } }",
            "1:1: layer 'c': required fields are not set: clip_param.max",
        ),
    ],
)
def test_error_says_where_and_what(text, message):
    with pytest.raises(ConfigError, match="^net.prototxt:? ?" + message):
        parse(text)


def test_missing_and_binary_files_are_config_errors(tmp_path):
    from pycaffe_clr.prototxt import read_net

    with pytest.raises(ConfigError, match="none.prototxt: no such file"):
        read_net(tmp_path / "none.prototxt")
    with pytest.raises(ConfigError, match="binary file"):
        read_net(FILES / "lenet_bin_iter_5.caffemodel")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_net(tmp_path)


def test_placeholders_are_replaced_as_whole_words():
    net, source = parse_located(
        "layer { name: 'xBS_xBS' data_param { batch_size: xBS source: 'a/xBS/b' } } # xBS",
        proto.NetParameter,
        defines={"xBS": "128"},
    )
    assert net.layer[0].data_param.batch_size == 128
    assert net.layer[0].name == "xBS_xBS"
    assert net.layer[0].data_param.source == "a/128/b"
    assert source.used_defines == {"xBS"}


def test_undefined_placeholders_are_all_listed():
    text = "base_lr: xLR1\nmax_lr: xLR2\nstepsize: xStep # xNot\nsnapshot_prefix: 'xSnap'"
    with pytest.raises(ConfigError, match=r"1:10: .*xLR1.* give -D xLR1=\.\.\. -D xLR2=\.\.\."):
        parse_text(text, proto.SolverParameter, "s", {"xStep": "3"})
    with pytest.raises(ConfigError, match="2:9: .*xLR2"):
        parse_text(text, proto.SolverParameter, "s", {"xStep": "3", "xLR1": "-1e-3"})


def test_bad_defines_are_refused():
    with pytest.raises(ConfigError, match="not a word"):
        parse("", {"a b": "1"})
    with pytest.raises(ConfigError, match="1:12: -D xBS= gives the placeholder no value"):
        parse("input_dim: xBS", {"xBS": ""})


def test_positions_of_layers_and_fields_come_with_the_message():
    text = 'name: "n"\nlayer { name: "a" }\n\nlayer {\n name: "b" }'
    _, source = parse_located(text, proto.NetParameter, "net.prototxt")
    assert source.layer(1) == "net.prototxt:4"
    assert source.where("name") == "net.prototxt:1:1"
    assert source.where("state") == "net.prototxt"


def test_nothing_is_kept_of_what_was_read_and_let_go():
    text = 'name: "n"'
    kept = [parse_located(text, proto.NetParameter) for _ in range(100)]
    sources = [weakref.ref(parsed.source) for parsed in kept]
    assert kept[0].source.where("name") == "<text>:1:1"
    del kept
    gc.collect()
    assert not any(source() for source in sources)


def test_messages_not_read_from_text_have_a_nameless_source():
    assert nowhere(proto.NetParameter()).layer(3) == "<NetParameter>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"), (1.0, "1"), (1e-5, "1e-05"), (0.00390625, "0.00390625"), (0.0, "0"),
        (16777216.0, "16777216"), (-0.0, "-0"), (float("nan"), "nan"), (float("inf"), "inf"),
        (-float("inf"), "-inf"),
    ],
)  # fmt: skip
def test_floats_are_written_in_the_shortest_form(value, text):
    single = proto.SolverParameter(base_lr=value).base_lr
    assert format_float(single) == text


def test_written_floats_read_back_equal():
    rng = random.Random(0)
    for _ in range(2000):
        solver = proto.SolverParameter(base_lr=rng.uniform(-1, 1) * 10 ** rng.randint(-40, 38))
        assert parse_text(format_message(solver), proto.SolverParameter) == solver


def test_written_text_is_caffes():
    for name in ("v0_net", "v1_net", "bn_old"):
        text = (FILES / f"{name}.upgraded.prototxt").read_text()
        assert format_message(parse(text)) == text


def test_strings_are_escaped():
    net = proto.NetParameter(name="tab\t \"quoted\" \\ 'é' \x01")
    text = format_message(net)
    assert text.isascii()
    assert parse(text) == net == text_format.Parse(text, proto.NetParameter())


def test_mutated_text_is_read_as_protobuf_reads_it_or_refused():
    """Random damage to real files: never another exception, and what is accepted is equal."""
    base = "".join((FILES / f"{name}.prototxt").read_text() for name in ("v1_net", "bn_old"))
    base = base.replace('name: "BNOld"', "")
    pieces = ["{", "}", ":", '"', "'", "#", "\n", "[", "]", "<", ">", ",", ";", "-", "1", "0x1F",
              "1e5", "inf", "nan", "true", '"a"', "name", "layer", "\\", "\0", "é", ".5", "5.",
              "017", "TRAIN", "99999999999", " ", "xBS"]  # fmt: skip
    rng = random.Random(1)
    accepted = 0
    for _ in range(400):
        text = base
        for _ in range(rng.randint(1, 2)):
            start = rng.randrange(len(text))
            end = start + rng.choice([0, 0, 1, 3, 10])
            text = text[:start] + rng.choice(pieces) + text[end:]
        try:
            net = parse(text)
        except ConfigError as error:
            assert str(error).startswith("net.prototxt")
            continue
        accepted += 1
        # A space after a minus sign is Caffe's language, but not that of protobuf's Python.
        if "- " not in text:
            expected = text_format.Parse(text, proto.NetParameter())
            assert net.SerializeToString() == expected.SerializeToString()
    assert accepted > 20


def test_random_bytes_never_crash():
    rng = random.Random(2)
    refused = 0
    for _ in range(300):
        text = "".join(
            chr(rng.choice([rng.randrange(128), rng.randrange(0x500)])) for _ in range(40)
        )
        try:
            parse(text, {"xBS": "1"})
        except ConfigError as error:
            assert str(error).startswith("net.prototxt:")
            refused += 1
    assert 250 < refused < 300


def test_long_blank_and_unclosed_text_takes_linear_time():
    parse(" " * 1_000_000 + "\n" * 1_000_000)
    with pytest.raises(ConfigError):
        parse("layer " * 100_000)
    with pytest.raises(ConfigError):
        parse('name: "' + "\\" * 1_000_001)
