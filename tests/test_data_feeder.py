"""Reading ahead: order, position, errors and a clean stop."""

import gc
import threading
import time

import numpy as np
import pytest

from pycaffe_clr.data import LmdbSource, RecordStream, writer
from pycaffe_clr.data.feeder import Feeder, Share
from pycaffe_clr.errors import ConfigError, DataError


class ArraySource:
    """Records in memory. data: (N, C, H, W) uint8."""

    held = None

    def __init__(self, data, name="array"):
        self.name, self.shape, self.dtype = name, data.shape[1:], data.dtype
        self.data = data

    def __len__(self):
        return len(self.data)

    def read(self, records, count, out=None):
        numbers = (records + np.arange(count)) % len(self)
        out[...] = self.data[numbers]
        return out, numbers.astype(np.int32)


def numbered(count):
    """A source whose pixels and labels say which record it is."""
    return ArraySource(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), "numbered")


class Failing(ArraySource):
    """Raises at one record, slowly at the others."""

    def read(self, records, count, out=None):
        if 7 in range(records, records + count):
            raise DataError("numbered: record 7 (key '7') is broken")
        time.sleep(0.002)
        return super().read(records, count, out)


def feeder_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("feeder")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    for thread in feeder_threads():
        thread.join(5)
    assert feeder_threads() == []


@pytest.mark.parametrize("threads", [1, 4])
def test_a_share_is_read_and_nothing_else(threads):
    asked: list[list[int]] = []

    class Shared(ArraySource):
        rounds = False

        def read(self, records, count=None, out=None):
            assert out is None and count is None
            asked.append(records.tolist())
            return self.data[records], records.astype(np.int32)

    source = Shared(np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1))
    # Two of each four, the second rank's.
    with Feeder(source, 8, threads=threads, start=4, share=Share(2, 2, 4)) as feeder:
        for i in range(3):
            batch = feeder.next()
            expected = [(4 + 8 * i + k) % 10 for k in (2, 3, 6, 7)]
            assert batch.labels[[2, 3, 6, 7]].tolist() == expected
            assert batch.data[[2, 3, 6, 7]].ravel().tolist() == expected
            assert feeder.position == 4 + 8 * (i + 1) and expected in asked


@pytest.mark.parametrize("threads", [1, 4])
def test_records_come_in_order_and_wrap(threads):
    with Feeder(numbered(10), 4, threads=threads) as feeder:
        for i in range(6):
            batch = feeder.next()
            expected = [(4 * i + k) % 10 for k in range(4)]
            assert batch.labels.tolist() == batch.data.ravel().tolist() == expected
            assert feeder.position == batch.position == 4 * (i + 1)


def test_a_batch_may_be_larger_than_the_set():
    with Feeder(numbered(3), 8) as feeder:
        assert feeder.next().labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
        assert feeder.next().labels.tolist()[:2] == [2, 0]


def test_a_feeder_goes_on_from_a_position():
    with Feeder(numbered(10), 4, threads=2) as feeder:
        for _ in range(5):
            feeder.next()
        position = feeder.position
        expected = [feeder.next().labels.tolist() for _ in range(4)]
    with Feeder(numbered(10), 4, start=position) as feeder:
        assert [feeder.next().labels.tolist() for _ in range(4)] == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_where_its_batch_would(threads):
    source = Failing(np.zeros((20, 1, 1, 1), np.uint8))
    feeder = Feeder(source, 2, threads=threads, depth=4)
    for _ in range(3):
        feeder.next()
    for _ in range(2):
        with pytest.raises(DataError, match="record 7"):
            feeder.next()
    assert feeder.position == 6


def test_a_broken_record_in_a_database_reaches_the_consumer(tmp_path):
    writer.write_records(tmp_path / "db", np.zeros((9, 1, 2, 2), np.uint8), np.zeros(9), 5)
    file = tmp_path / "db" / "data.mdb"
    content = bytearray(file.read_bytes())
    at = content.find(b"00005\x08\x01") + 6
    content[at] = 2  # two channels
    file.write_bytes(content)
    with Feeder(LmdbSource(tmp_path / "db"), 3) as feeder:
        feeder.next()
        with pytest.raises(DataError, match=r"record 5 \(key '00005'\): Datum of 2x2x2"):
            feeder.next()


def test_other_failures_are_data_errors_too():
    class Odd(ArraySource):
        def read(self, records, count, out=None):
            raise ZeroDivisionError("odd")

    feeder = Feeder(Odd(np.zeros((2, 1, 1, 1), np.uint8), name="odd set"), 1)
    with pytest.raises(DataError, match="odd set: reading ahead failed: ZeroDivisionError"):
        feeder.next()


def test_reading_ahead_is_bounded():
    calls = []

    class Counted(ArraySource):
        def read(self, records, count, out=None):
            calls.append(records)
            return super().read(records, count, out)

    with Feeder(Counted(np.zeros((50, 1, 1, 1), np.uint8)), 1, depth=3) as feeder:
        time.sleep(0.1)
        assert len(calls) == 3
        feeder.next()
        time.sleep(0.1)
        assert len(calls) == 4 and feeder.position == 1


def test_a_batch_stays_whole_until_the_next_is_taken():
    with Feeder(numbered(200), 5, depth=2, threads=2) as feeder:
        for i in range(30):
            batch = feeder.next()
            time.sleep(0.001)
            assert batch.data.ravel().tolist() == [(5 * i + k) % 200 for k in range(5)]


def test_threads_end_when_a_feeder_is_dropped_or_closed():
    feeder = Feeder(numbered(10), 2, threads=3)
    assert len(feeder_threads()) == 3
    del feeder
    gc.collect()
    for thread in feeder_threads():
        thread.join(5)
    assert feeder_threads() == []
    feeder = Feeder(numbered(10), 2)
    feeder.close()
    feeder.close()
    with pytest.raises(DataError, match="closed"):
        feeder.next()


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": 0}, {"start": -1}, {"depth": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="numbered"):
        Feeder(numbered(3), **{"batch_size": 1, **wrong})


def test_a_stream_goes_on_wherever_it_is_put():
    stream = RecordStream(numbered(10), threads=2)
    assert stream.shape == (1, 1, 1) and len(stream) == 10 and stream.position == 0
    assert stream.next(4)[1].tolist() == [0, 1, 2, 3]
    assert stream.next(4)[0].ravel().tolist() == [4, 5, 6, 7]
    assert stream.next(3)[1].tolist() == [8, 9, 0]
    assert stream.position == 1
    stream.seek(17)
    assert stream.position == 7
    assert stream.next(2)[1].tolist() == [7, 8]
    stream.close()
    assert stream.next(2)[1].tolist() == [9, 0]
    stream.close()


def test_a_stream_raises_where_the_broken_record_is():
    stream = RecordStream(Failing(np.zeros((20, 1, 1, 1), np.uint8)))
    stream.next(5)
    for _ in range(2):
        with pytest.raises(DataError, match="record 7"):
            stream.next(5)
        assert stream.position == 5
