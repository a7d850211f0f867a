"""Makes the tests import the installed package, whose compiled module the checkout lacks."""

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from cpp_build import CppTests

CPP_TESTS = pytest.StashKey[CppTests]()
ROOT = Path(__file__).parents[1]


def leave_checkout_off_the_path() -> None:
    """Take the checkout off sys.path, where `python -m pytest` puts it; children too."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    # Keeps `python -m pycaffe_clr`, run by a test, from putting the working directory first.
    os.environ["PYTHONSAFEPATH"] = "1"


leave_checkout_off_the_path()
# Of the engine's threads, here and in children: small nets on busy cores would wait in circles.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--guarded LIBRARY: nets lie in memory that the host cannot reach (tests/cpp/guarded.h).

    --cuda-host LIBRARY: the CUDA backend runs them, on the host (csrc/backends/cuda/host).
    --device NAME: that device runs them, whichever a test asks for; --precision NAME: and in that
    precision, where the test names none.
    """
    parser.addoption("--guarded", metavar="LIBRARY", help="run on the guarded backends in it")
    parser.addoption("--cuda-host", metavar="LIBRARY", help="run on the CUDA backend in it")
    parser.addoption("--device", metavar="NAME", help="run on this device alone")
    parser.addoption("--precision", metavar="NAME", help="run in this precision")


def guard(library: str) -> None:
    """Have every device mean the guarded backend in place of its own, in this process."""
    from pycaffe_clr.engine import ready_core

    core = ready_core()
    core.backends()  # loads those that there are
    ctypes.CDLL(library).register_guarded_backends()
    plain = core.backend_of
    core.backend_of = lambda device, *_: f"guarded_{plain(device)}"


def take_cuda_host(library: str) -> None:
    """Have every device mean the CUDA backend on the host, in this process."""
    from pycaffe_clr.engine import ready_core

    core = ready_core()
    ctypes.CDLL(library).register_cuda_host_backend()
    core.backend_of = lambda device, *_: "cuda_host"


def take_device(device: str) -> None:
    """Have every device mean this one, in this process, and give a GPU its wider bounds."""
    import golden_data

    from pycaffe_clr.engine import backend_of, ready_core

    backend = backend_of(device)
    ready_core().backend_of = lambda device, *_: backend
    if backend.startswith("cuda"):
        golden_data.LAYER_BOUND, golden_data.RUN_BOUND = 1e-4, 1e-3


def take_precision(precision: str) -> None:
    """Have nets that ask for none be of this precision, in this process."""
    from pycaffe_clr.engine import ready_core

    core = ready_core()
    plain = core.Net

    def make(specs, settings, *more):
        return plain(specs, {**settings, "precision": settings["precision"] or precision}, *more)

    core.Net = make


def pytest_configure(config: pytest.Config) -> None:
    """Stop before the first test if the package is not installed, and say how to install it."""
    if find_spec("pycaffe_clr") is None or find_spec("pycaffe_clr._core") is None:
        raise pytest.UsageError(
            f"pycaffe_clr is not installed for {sys.executable}; "
            f'install it and the test tools with: pip install ".[test]" (in {ROOT})'
        )
    if library := config.getoption("--guarded"):
        guard(library)
    if library := config.getoption("--cuda-host"):
        take_cuda_host(library)
    if device := config.getoption("--device"):
        take_device(device)
    if precision := config.getoption("--precision"):
        take_precision(precision)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that need the C++ build come last, and of these what runs beside this."""

    def place(item: pytest.Item) -> int:
        return ("build" in fixtures_of(item)) + ("cpp_tests" in fixtures_of(item))

    items.sort(key=place)


def fixtures_of(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build and run C++ tests from now on, if some of the tests will ask for it."""
    if session.config.getoption("collectonly"):
        return
    if any("build" in fixtures_of(item) for item in session.items):
        jobs = [
            item.callspec.params["job"]
            for item in session.items
            if isinstance(item, pytest.Function) and "cpp_tests" in item.fixturenames
        ]
        session.config.stash[CPP_TESTS] = CppTests(jobs)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if tests := session.config.stash.get(CPP_TESTS, None):
        tests.stop()


@pytest.fixture(scope="session")
def cpp_tests(pytestconfig: pytest.Config) -> CppTests:
    """The C++ tests, as they are built and run beside this."""
    return pytestconfig.stash[CPP_TESTS]


@pytest.fixture(scope="session")
def build(pytestconfig: pytest.Config) -> Path:
    """Build folder with every C++ test compiled; skips where there is no CMake or compiler."""
    return pytestconfig.stash[CPP_TESTS].folder()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of originals and golden data beside the checkout; skips the test if it is absent."""
    folder = Path(os.environ.get("PYCAFFE_CLR_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} (PYCAFFE_CLR_SHARED names another)")
    return folder


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny solver's path (train_cases.py); its folder is the working directory."""
    from train_cases import make_case

    monkeypatch.chdir(tmp_path)
    return make_case(tmp_path)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine a second thread costs small nets far more than it brings."""
    from pycaffe_clr.engine import ready_core

    before = ready_core().threads()
    ready_core().set_threads(1)
    yield
    ready_core().set_threads(before)
