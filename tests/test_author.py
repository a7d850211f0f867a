"""The packaged curves of the author's logs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments import author
from pycaffe_clr.experiments.author import pack
from pycaffe_clr.experiments.logs import read_log
from pycaffe_clr.experiments.manifest import load


def test_every_curve_that_the_manifest_names_is_there_and_all_are_small():
    named = {n for f in load().figures.values() for curve in f.curves for n in curve.author}
    assert named <= set(author.names())
    assert len(author.names()) == 17
    sizes = [(author.FOLDER / f"{n}{author.SUFFIX}").stat().st_size for n in author.names()]
    assert sum(sizes) < 400_000


def test_a_curve_ends_as_the_authors_log_does():
    run = author.load("gResnet56_ResTBS512LR.0800.8M.95WD1e-4Epoch95BS128b_1")
    assert (run.state, run.max_iter, run.batch) == ("log", 9277, 512)
    assert run.final_accuracy == 0.919062
    assert run.tests["iteration"][-1] == 9200  # not max_iter: the author's last test
    assert run.lr_at(np.array([4000]))[0] == pytest.approx(0.8, rel=2e-3)
    assert run.record["source"].endswith(f"Cifar/results/{run.name}")


def test_curves_are_the_logs_digit_by_digit(shared):
    logs = sorted((shared / "originals").glob("*/results/*"))
    assert sorted(log.name for log in logs) == sorted(author.names())
    for log in logs:
        theirs, ours = read_log(log), author.load(log.name)
        for key in ("iteration", "accuracy", "loss"):
            assert np.array_equal(theirs.test()[key], ours.test()[key]), (log.name, key)
        for key in ("iteration", "loss", "smoothed_loss", "lr", "momentum"):
            same = np.array_equal(theirs.metrics[key], ours.metrics[key], equal_nan=True)
            assert same, (log.name, key)
        assert ours.metrics["seconds"] == pytest.approx(theirs.metrics["seconds"], rel=1e-5)


def parts(path: Path) -> dict[str, bytes]:
    """The files in an archive; what else there is in it is up to Python's version."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_packing_a_log_makes_the_shipped_file(shared, tmp_path):
    log = next((shared / "originals").glob("Cifar/results/gResnet56*"))
    made = pack.pack(log, f"Cifar/results/{log.name}", tmp_path)
    assert parts(made) == parts(author.FOLDER / made.name)


def test_an_unknown_log_and_a_broken_file_are_clear_errors(monkeypatch, tmp_path):
    with pytest.raises(DataError, match="no log of the author is called 'x'; known: c100"):
        author.load("x")
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4")
    monkeypatch.setattr(author, "FOLDER", tmp_path)
    with pytest.raises(DataError, match="bad.npz: cannot be read"):
        author.load("bad")
    with pytest.raises(DataError, match="has no"):
        pack.main([str(tmp_path)])
