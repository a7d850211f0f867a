"""The compiled module is there, and says clearly when it or its libraries are not."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pycaffe_clr import engine, native
from pycaffe_clr.errors import EngineError


def fail_with(error: ImportError):
    def fail(name: str):
        raise error

    return fail


@pytest.fixture
def uncached():
    native.core.cache_clear()
    yield
    native.core.cache_clear()


def test_core_is_the_installed_version() -> None:
    assert native.core().version() == version("pycaffe_clr")


def test_source_tree_without_the_module_says_install(uncached, monkeypatch) -> None:
    monkeypatch.setattr(native, "import_module", fail_with(ModuleNotFoundError("no _core")))
    with pytest.raises(EngineError, match="pip install"):
        native.core()


def test_a_library_that_a_package_holds_is_loaded_by_its_path() -> None:
    assert not native.load_library("libother.so.1: cannot open shared object file")
    if native.onednn_library() is None:
        pytest.skip("oneDNN is not installed")
    assert native.load_library("libdnnl.so.3: cannot open shared object file")


NET = """
input: "x" input_shape { dim: 2 dim: 3 dim: 9 dim: 9 } force_backward: true
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "p" type: "Softmax" bottom: "c" top: "p" }
"""
PROGRAM = """
import sys
import pycaffe_clr as caffe
from pycaffe_clr.engine import ready_core
for _ in range(2):
    net = caffe.Net(sys.argv[1], caffe.TRAIN)
    net.forward()
    net.backward()
print(net._core.backend, *ready_core().backends())
caffe.Net(sys.argv[1], caffe.TRAIN, device="onednn")
"""


FOUND = """
import shutil
import sys
from pycaffe_clr import engine, native
from pycaffe_clr.engine import backend_of
asked = []
def find(problem):
    asked.append(problem)
    shutil.copy(sys.argv[2], sys.argv[3])
    # Seen from a copy of the package oneDNN lies elsewhere, if it is a wheel's.
    native.load_library("libdnnl.so.3")
    return True
native.core().find_libraries_by(find)
print(backend_of("cpu"), backend_of("onednn"), len(asked), native.core().backend_problems())
"""


def run_without_onednn(
    folder: Path, change, program: str = PROGRAM
) -> subprocess.CompletedProcess[str]:
    """What the program says in a copy of the package whose oneDNN backend `change` has spoilt."""
    package = Path(native.__file__).parent
    module = package / "libpycaffe_clr_onednn.so"
    if not module.is_file():
        pytest.skip("this build has no onednn backend")
    copy = folder / "pycaffe_clr"
    copy.mkdir()
    for path in package.iterdir():
        # Libraries look for others beside themselves.
        (shutil.copy if path.suffix == ".so" else os.symlink)(path, copy / path.name)
    change(copy / module.name)
    (folder / "net.prototxt").write_text(NET)
    paths = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", program, folder / "net.prototxt", module, copy / module.name],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
    )


def miss(module: Path) -> None:
    """Make a backend's module want a library that nobody has."""
    module.write_bytes(module.read_bytes().replace(b"\0libdnnl.so.3\0", b"\0libdnnl.so.0\0"))


def test_a_library_that_is_found_at_last_is_no_problem(tmp_path) -> None:
    done = run_without_onednn(tmp_path, miss, FOUND)
    assert done.stdout.strip() == "onednn onednn 1 []", done.stderr
    assert not done.stderr


def test_without_the_library_of_onednn_nets_run_on_our_own_kernels(tmp_path) -> None:
    done = run_without_onednn(tmp_path, miss)
    assert done.stdout.split() == ["cpu", "reference", "cpu"]
    said = done.stderr.splitlines()
    assert len([line for line in said if "Until then" in line]) == 1
    assert "backend onednn cannot be loaded: libdnnl.so.0: cannot open" in said[0]
    assert "pip install 'onednn-cpu-gomp" in said[0]
    assert 'ConfigError: device "onednn": backend onednn cannot be loaded' in said[-1]


def test_a_build_without_onednn_says_nothing_until_it_is_asked_for(tmp_path) -> None:
    done = run_without_onednn(tmp_path, Path.unlink)
    assert done.stdout.split() == ["cpu", "reference", "cpu"]
    assert "no onednn backend; it has: reference, cpu" in done.stderr.splitlines()[-1]
    assert "cannot be loaded" not in done.stderr


def test_what_backends_say_of_their_libraries_is_told_once(monkeypatch, caplog):
    class Module:
        def backend_of(self, device, described):
            return "onednn"

        def backend_problems(self):
            return []

        def backend_remarks(self):
            return ["backend onednn: oneDNN 3.9.0 is loaded"]

    monkeypatch.setattr(engine, "ready_core", Module)
    for _ in range(2):
        assert engine.backend_of("cpu") == "onednn"
    assert caplog.messages == ["backend onednn: oneDNN 3.9.0 is loaded"]
