"""Datum bytes: the fast reader is as strict as protobuf."""

import builtins
import io

import numpy as np
import pytest

from pycaffe_clr import proto
from pycaffe_clr.data import datum
from pycaffe_clr.errors import DataError


def pixels(shape=(2, 3, 4)):
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


@pytest.mark.parametrize("label", [0, 1, 127, 128, 16384, (1 << 31) - 1, -1, -(1 << 31)])
def test_encoding_is_protobufs(label):
    image = pixels()
    message = proto.Datum(channels=2, height=3, width=4, data=image.tobytes(), label=label)
    assert datum.encode(image, label) == message.SerializeToString()
    record = datum.decode(datum.encode(image, label), "here")
    assert np.array_equal(record.image, image) and record.label == label


def test_fuzzed_bytes_are_read_as_protobuf_reads_them_or_refused():
    generator = np.random.default_rng(1)
    base = datum.encode(pixels(), 300)
    alike = 0
    for _ in range(4000):
        data = bytearray(base)
        for _ in range(int(generator.integers(1, 4))):
            at = int(generator.integers(len(data)))
            kind = generator.integers(3)
            if kind == 0:
                data[at] = int(generator.integers(256))
            elif kind == 1:
                del data[at]
            else:
                data.insert(at, int(generator.integers(256)))
        try:
            record = datum.decode(bytes(data), "here")
        except DataError:
            record = None
        layout = datum.Layout.of(bytes(data))
        if layout is None:
            continue
        alike += 1
        assert record is not None, bytes(data).hex()
        assert layout.shape == record.image.shape
        end = layout.data_at + layout.data_size
        assert bytes(data[layout.data_at : end]) == record.image.tobytes()
        row = np.frombuffer(bytes(data), np.uint8)[None]
        label = layout.labels(row[:, layout.label_at : layout.label_at + layout.label_size])
        assert label.tolist() == [record.label]
    assert alike > 500


def test_a_layout_agrees_only_where_protobuf_would_read_the_same():
    layout = datum.Layout.of(datum.encode(pixels(), 300))
    other = np.frombuffer(datum.encode(pixels() + 1, 200), np.uint8)
    begin, end = layout.fixed_parts()[1]
    assert layout.agrees(begin, other[None, begin:end]).tolist() == [True]
    short_label = np.array(other)
    short_label[layout.label_at] &= 0x7F  # the label would end here, a new field begin
    assert layout.agrees(begin, short_label[None, begin:end]).tolist() == [False]


@pytest.mark.parametrize("mode, channels", [("L", 1), ("RGB", 3), ("RGBA", 4), ("P", 3)])
def test_compressed_images_come_blue_first(mode, channels):
    image_module = pytest.importorskip("PIL.Image")
    picture = image_module.new("RGB", (5, 4), (51, 102, 153)).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = proto.Datum(encoded=True, data=file.getvalue(), label=3).SerializeToString()
    record = datum.decode(data, "here")
    assert record.image.shape == (channels, 4, 5) and record.label == 3
    if channels >= 3:
        assert record.image[:3, 0, 0].tolist() == [153, 102, 51]
    assert datum.decode(data, "here", color=True).image.shape == (3, 4, 5)
    assert datum.decode(data, "here", color=False).image.shape == (1, 4, 5)


def test_without_pillow_a_compressed_image_says_so(monkeypatch):
    real_import = builtins.__import__

    def no_pillow(name, *args):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", no_pillow)
    data = proto.Datum(encoded=True, data=b"x").SerializeToString()
    with pytest.raises(DataError, match="here: .*pip install Pillow"):
        datum.decode(data, "here")
