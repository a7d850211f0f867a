"""The nets of a run: those that it trains, writes down and is told to change."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from train_cases import log_text, results

import pycaffe_clr
from pycaffe_clr import cli
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.prototxt import filter_net, read_net, read_solver, solver_nets
from pycaffe_clr.train import events as told

QUICK = {"threads": 1, "curve": False, "whole_test": False}


def written(folder: str) -> tuple[str, str]:
    """The nets that the resolved files of a run give: (TRAIN, TEST)."""
    with contextlib.chdir(folder):
        nets = solver_nets(read_solver("solver.prototxt"))
    return str(filter_net(nets.train)), str(filter_net(nets.tests[0]))


def test_the_nets_that_were_trained_are_written_down(case):
    trained = []

    class Keep:
        def started(self, run):
            session = run.session
            trained.append((str(session.train.param), str(session.tests[0].param)))

    changes = {"batch": 5, "test_batch": 2, "filler": "xavier", "replicas": 2,
               "net_sets": {"layer.ip.param.0.lr_mult": 2}}  # fmt: skip
    text = Path("net.prototxt").read_text()
    net = text.replace('name: "ip" type', 'name: "ip" param { } type').replace(
        '{ type: "msra" }', '{ type: "gaussian" std: 0.01 } bias_filler { type: "constant" }'
    )
    Path("net.prototxt").write_text(net.replace("bias_term: false ", ""))
    result = pycaffe_clr.run(case, out="out", callbacks=[Keep()], **QUICK, **changes)
    assert written("out") == trained[0]
    train, test = (text for text in trained[0])
    assert "batch_size: 5" in train and "batch_size: 2" in test and "lr_mult: 2" in train
    assert "std" not in train and "msra" not in train and train.count('"xavier"') == 2
    assert 'bias_filler {\n      type: "constant"' in train
    assert result.batch == 10
    # Gone or changed, the net's file has no part in a resume.
    Path("net.prototxt").unlink()
    pycaffe_clr.run("out/solver.prototxt", out="again", **QUICK)
    assert Path("again/metrics.csv").read_bytes() == Path("out/metrics.csv").read_bytes()
    with pytest.raises(ConfigError, match="started with batch 5, which a resume cannot change"):
        pycaffe_clr.run(out="out", resume=True, batch=6)


def test_a_resume_trains_what_was_written(case):
    def kill(event):
        if isinstance(event, told.TestResult) and event.iteration == 40:
            raise KeyboardInterrupt

    changes = {"batch": 4, "filler": "xavier"}
    pycaffe_clr.run(case, out="whole", **changes, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        pycaffe_clr.run(case, out="out", callbacks=[kill], checkpoint_every=0, **changes, **QUICK)
    Path("net.prototxt").write_text("nothing that could be read")
    assert pycaffe_clr.run(case, out="out", resume=True, curve=False, **changes).state == "finished"
    assert results(Path("out")) == results(Path("whole"))


def test_another_net_takes_the_place_of_the_solvers(case):
    other = Path("net.prototxt").read_text().replace("num_output: 4", "num_output: 5")
    Path("other.prototxt").write_text(other)
    pycaffe_clr.run(case, out="out", net="other", max_iter=1, **QUICK)
    assert "num_output: 5" in Path("out/net.prototxt").read_text()
    assert "from net file: other" in log_text(Path("out"))
    with pytest.raises(ConfigError, match="net lenet_sampel: net file is not .*lenet_sample"):
        pycaffe_clr.run(case, out="x", net="lenet_sampel")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filler": "msar"}, 'filler "msar" is unknown; known: constant, '),
        ({"net_sets": {"layer.ip.inner_product_param.num_outputs": 3}}, "--set-net layer.ip"),
        ({"net_sets": {"layer.data.top": "x"}}, "is the name of several; give the number"),
    ],
)
def test_changes_that_do_not_fit_are_errors(case, settings, message):
    with pytest.raises(ConfigError, match=message):
        pycaffe_clr.run(case, out="out", **settings)
    assert not Path("out").exists()


LAYERS = """
net_param {
  layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 3 dim: 2 } } }
  layer { name: "dummy" type: "DummyData" top: "dummy" include { phase: TRAIN }
          dummy_data_param { num: 3 channels: 1 height: 1 width: 1 } }
  layer { name: "memory" type: "MemoryData" top: "m" top: "l" include { phase: TEST }
          memory_data_param { batch_size: 3 channels: 1 height: 1 width: 1 } }
}
base_lr: 1 lr_policy: "fixed" max_iter: 1 test_iter: 1 test_interval: 1
"""


def changed(text: str, **settings: object):
    from pycaffe_clr.prototxt import NetChanges, parse_solver

    return solver_nets(parse_solver(text), changes=NetChanges(**settings))


def test_batches_of_all_kinds_of_data_layers():
    nets = changed(LAYERS, batch=7)
    layers = {layer.name: layer for layer in nets.train.layer}
    assert layers["in"].input_param.shape[0].dim == [7, 2]
    assert layers["dummy"].dummy_data_param.num == [7]
    assert layers["memory"].memory_data_param.batch_size == 3
    with pytest.raises(ConfigError, match="layer 'in' is in TRAIN and in TEST.*7 and of 2"):
        changed(LAYERS, batch=7, test_batch=2)
    with pytest.raises(ConfigError, match="no layer of .* in TRAIN has a batch"):
        changed('net_param { } base_lr: 1 lr_policy: "fixed"', batch=7)
    with pytest.raises(ConfigError, match="no layer of .* has a weight_filler"):
        changed(LAYERS, filler="msra")


@pytest.mark.parametrize("name", ["mine.prototxt", "lenet_sample.prototxt"])
def test_a_copied_solver_finds_the_shipped_nets(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(pycaffe_clr.catalog.find_solver("lenet_sample"), name)
    flags = ["--threads", "1", "--no-whole-test", "--no-curve", "--max-iter", "1"]
    assert cli.main(["run", name, *flags, "--set", "net=lenet_sample"]) == 0
    assert cli.main(["show", name]) == 0
    assert "431,080 parameters" in capsys.readouterr().out
    text = Path(name).read_text().replace("max_iter: 1250", "max_iter: 1")
    Path(name).write_text(text.replace("prototxt/lenet_sample.prototxt", "lenet_sample"))
    assert cli.main(["train", "--solver", name, "--threads", "1"]) == 0
    assert read_net("runs/" + Path(name).stem + "/net.prototxt").name == "LeNet"


def test_a_solver_whose_tests_cannot_be_is_warned_of(case):
    case.write_text(case.read_text().replace("test_iter: 3\n", ""))
    line = case.read_text().splitlines().index("test_interval: 20") + 1
    pycaffe_clr.run(case, out="out", max_iter=1, **QUICK)
    assert f"{case}:{line}:1: test_interval is set, but test_iter is not" in (log_text(Path("out")))


def test_weights_are_evaluated_on_the_whole_test_set(case):
    # A display in the end, which Caffe makes after the snapshot, would move BatchNorm's statistics.
    result = pycaffe_clr.run(case, out="out", threads=1, curve=False, sets={"display": 7})
    found = pycaffe_clr.evaluate("out/net.prototxt", result.weights)
    whole = result.record["tests"][0]["whole"]["outputs"]
    assert found == pytest.approx(whole, rel=1e-5) and found["accuracy"] == result.whole_accuracy
    Path("inputs.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 } } }'
    )
    with pytest.raises(DataError, match="in TEST it reads 0 databases"):
        pycaffe_clr.evaluate("inputs.prototxt", result.weights)
