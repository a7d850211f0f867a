"""The compiled module is there, and says clearly when it or its libraries are not."""

import importlib
from importlib.metadata import version

import pytest

from pycaffe_clr import native
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


def test_missing_onednn_names_its_package(uncached, monkeypatch) -> None:
    error = ImportError("libdnnl.so.3: cannot open shared object file: No such file or directory")
    monkeypatch.setattr(native, "import_module", fail_with(error))
    monkeypatch.setattr(native, "onednn_library", lambda: None)
    with pytest.raises(EngineError, match="onednn-cpu-gomp"):
        native.core()


def test_onednn_under_another_prefix_is_loaded_first(uncached, monkeypatch) -> None:
    library = native.onednn_library()
    if library is None:
        pytest.skip("oneDNN is not installed")
    calls = []

    def fail_once(name: str):
        calls.append(name)
        if len(calls) == 1:
            raise ImportError("libdnnl.so.3: cannot open shared object file")
        return importlib.import_module(name)

    monkeypatch.setattr(native, "import_module", fail_once)
    assert native.core().__name__ == "pycaffe_clr._core"
    assert len(calls) == 2
