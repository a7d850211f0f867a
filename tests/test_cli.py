"""The command line: verbs, Caffe's flags, one line per error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from train_cases import make_case

from pycaffe_clr import cli, devices, engine
from pycaffe_clr.cli.show import bytes_text
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import is_solver

HEAVY = ("numpy", "google.protobuf", "matplotlib", "rich", "pycaffe_clr._core", "lmdb", "h5py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny solver and a snapshot that `train` made of it."""
    folder = tmp_path_factory.mktemp("trained")
    solver = make_case(folder, extra="debug_info: true\n")
    text = solver.read_text().replace("max_iter: 60", "max_iter: 3").replace("snapshot: 40\n", "")
    solver.write_text(text.replace("elsewhere", str(folder / "snaps")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["train", "-solver", "tiny.prototxt", "--threads", "1"]) == 0
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def messages(text: str) -> list[str]:
    """Log lines without glog's prefix."""
    return [re.sub(r"^[IWE]\d{4} \S+ \d+ \S+\] ", "", line) for line in text.splitlines()]


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from pycaffe_clr import cli; cli.main(['--help']); import pycaffe_clr; "
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"  {verb}" in done.stdout for verb in cli.VERBS)


@pytest.mark.parametrize(
    ("name", "not_needed"),
    [
        ("prototxt.read_net", ["numpy", "pycaffe_clr._core", "lmdb"]),
        ("read_run", ["google.protobuf", "pycaffe_clr._core", "matplotlib", "rich"]),
        ("read_log", ["google.protobuf", "pycaffe_clr._core", "matplotlib", "rich"]),
        ("Net", ["pycaffe_clr.train.session", "matplotlib", "rich", "h5py"]),
        ("Schedule", ["pycaffe_clr.train.session", "matplotlib", "rich", "h5py"]),
    ],
)
def test_a_name_loads_only_what_it_needs(name: str, not_needed: list[str]) -> None:
    code = (
        f"import sys; import pycaffe_clr as caffe; caffe.{name}; "
        f"print([m for m in {not_needed!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_loads_nothing_before_its_first_iteration_that_it_does_not_need(here):
    code = (
        "import sys; from pycaffe_clr import cli; from pycaffe_clr.train.log import CaffeLog\n"
        "def display(*_): print('LOADED', [m for m in NOT_YET if m in sys.modules]); sys.exit()\n"
        "NOT_YET = ['matplotlib', 'PIL', 'h5py', 'lmdb', 'rich', 'grpc_tools', 'numpy.ma']\n"
        "CaffeLog.display = display\n"
        "cli.main(['run', 'tiny.prototxt', '--out', 'first', '--overwrite', '--threads', '1'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.findall(r"LOADED (.*)", done.stdout) == ["[]"], done.stderr


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"pycaffe_clr {verb}" in capsys.readouterr().out


def test_wrong_usage_exits_with_2(capsys):
    assert cli.main(["trane"]) == 2
    assert "known: run, data" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", "--no-such-flag"])
    assert stopped.value.code == 2


def test_errors_are_one_line_without_a_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "lenet_1cylce"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: lenet_1cylce: ") and "lenet_1cycle" in said
    assert said.count("\n") == 1
    monkeypatch.setattr("pycaffe_clr.catalog.solvers", lambda: 1 / 0)
    assert cli.main(["list"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        cli.main(["list", "--debug"])


def test_missing_data_names_the_command_that_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "lenet_1cycle"]) == 1
    assert "pycaffe_clr data mnist" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_misspelt_fields_are_told_where(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.prototxt").write_text('net: "n.prototxt"\nmax_itre: 3\n')
    assert cli.main(["run", "s.prototxt"]) == 1
    assert "s.prototxt:2:1" in capsys.readouterr().err


def test_train_writes_snapshots_and_debug_info(here, capfd):
    assert (here / "snaps/tiny_iter_3.caffemodel").exists()
    assert cli.main(["train", "--solver=tiny.prototxt", "--gpu=0,1", "--threads=1"]) == 0
    said = messages(capfd.readouterr().err)
    assert any("Use CPU, with 2 replicas." in line for line in said)
    assert said[-1] == "Optimization Done."
    debug = [line.strip() for line in said if line.startswith("    [")]
    kinds = [line.split("]")[0] + "]" for line in debug]
    assert kinds == sorted(kinds, key=["[Forward]", "[Backward]", "[Update]"].index)
    assert any(re.fullmatch(r"\[Forward\] Layer conv, top blob conv data: \S+", d) for d in debug)
    assert any(re.fullmatch(r"\[Backward\] Layer ip, bottom blob conv diff: \S+", d) for d in debug)
    assert any(
        re.fullmatch(
            r"\[Backward\] All net params \(data, diff\): L1 norm = \(\S+, \S+\); "
            r"L2 norm = \(\S+, \S+\)",
            line,
        )
        for line in debug
    )
    assert any(re.fullmatch(r"\[Update\] Layer ip, param 0 data: \S+; diff: \S+", d) for d in debug)


def test_train_goes_on_from_a_snapshot(here, capfd):
    flags = ["train", "-solver", "tiny.prototxt", "-threads", "1"]
    state = "snaps/tiny_iter_3.solverstate"
    assert cli.main([*flags[:3], "-snapshot", state]) == 0
    said = messages(capfd.readouterr().err)
    at = said.index(f"Resuming from {state}")
    assert said[at + 1] == f"Restoring previous solver status from {state}"
    assert said[at + 2] == "SGDSolver: restoring history"
    assert cli.main([*flags[:3], "-snapshot", state, "-weights", "x"]) == 1
    assert cli.main(["train", "-solver", "tiny.prototxt", "-sigint_effect", "explode"]) == 1


def test_test_logs_batches_and_means(here, capfd):
    flags = ["--model", "net.prototxt", "--weights", "snaps/tiny_iter_3.caffemodel"]
    assert cli.main(["test", *flags, "-iterations=2", "--threads=1"]) == 0
    said = messages(capfd.readouterr().err)
    end = said[said.index("Running for 2 iterations.") + 1 :]
    assert [line.split(" = ")[0] for line in end[:4]] == [
        "Batch 0, accuracy", "Batch 0, loss", "Batch 1, accuracy", "Batch 1, loss",
    ]  # fmt: skip
    assert end[4].startswith("Loss: ") and end[5].startswith("accuracy = ")
    assert re.fullmatch(r"loss = \S+ \(\* 1 = \S+ loss\)", end[6])
    means = [float(end[i].split(" = ")[1]) for i in (0, 2)]
    assert float(end[5].split(" = ")[1]) == pytest.approx(sum(means) / 2, rel=1e-5)
    assert cli.main(["test", "--model", "net.prototxt"]) == 1


def test_time_logs_every_layer(here, capfd):
    assert cli.main(["time", "--model", "net.prototxt", "--iterations", "2", "--threads=1"]) == 0
    said = messages(capfd.readouterr().err)
    timed = "\n".join(line for line in said if "\tforward: " in line)
    for layer in ("data", "conv", "bn", "ip", "loss"):
        assert re.search(rf"\b{layer}\b", timed)
    for start in ("Average Forward pass: ", "Average Backward pass: ",
                  "Average Forward-Backward: ", "Total Time: "):  # fmt: skip
        assert any(re.fullmatch(re.escape(start) + r"\S+ ms\.", line) for line in said)


def test_show_prints_the_plan_in_80_columns(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for what in ("net.prototxt", "tiny.prototxt"):
        assert cli.main(["show", what]) == 0
        said = capsys.readouterr().out
        assert max(map(len, said.splitlines())) <= 80
        assert "bn+scale+relu" in said and "reference ops: " in said


def test_show_needs_no_data_for_the_shipped_nets(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYCAFFE_CLR_DATA", raising=False)
    assert cli.main(["show", "lenet_sample"]) == 0
    assert "431,080 parameters" in capsys.readouterr().out


def test_solvers_and_nets_are_told_apart(here):
    assert is_solver(Path("tiny.prototxt")) and not is_solver(Path("net.prototxt"))


def test_list_and_version(capsys):
    assert cli.main(["list", "lenet"]) == 0
    assert "lenet_sample" in capsys.readouterr().out
    assert cli.main(["version"]) == 0
    assert "backends" in capsys.readouterr().out


def test_version_tells_of_gpus(capsys, monkeypatch):
    """And of their libraries, wherever the package knows of GPUs."""
    monkeypatch.setenv("PYCAFFE_CLR_CUDNN_DIR", "/of/mine")
    monkeypatch.setattr(devices, "gpus", lambda: ([], "no CUDA device"))
    monkeypatch.setattr(devices, "MODULE", Path(__file__))
    assert cli.main(["version"]) == 0
    said = capsys.readouterr().out
    assert "GPUs none: no CUDA device\ncuDNN in /of/mine (PYCAFFE_CLR_CUDNN_DIR)\nNCCL " in said
    monkeypatch.setattr(devices, "MODULE", Path("/nowhere"))
    assert cli.main(["version"]) == 0
    assert "GPUs" not in capsys.readouterr().out


def test_sizes_are_told_in_round_units():
    assert [bytes_text(n) for n in (12, 1536, 1 << 20, 5 << 30)] == [
        "12 B", "1.5 KB", "1.0 MB", "5.0 GB",
    ]  # fmt: skip


def test_a_broken_caffemodel_is_one_error(here, capfd):
    Path("bad.caffemodel").write_bytes(b"\x0a\xff\xff")
    flags = ["--model", "net.prototxt", "--weights", "bad.caffemodel"]
    assert cli.main(["test", *flags]) == 1
    (error,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "bad.caffemodel: truncated" in error


def test_an_unknown_device_is_told_what_there_is():
    with pytest.raises(ConfigError, match='device "tpu" is unknown; known: cpu, .*kernels'):
        engine.backend_of("tpu")
    with pytest.raises(ConfigError, match="no GPU backend"):
        engine.backend_of("gpu")
