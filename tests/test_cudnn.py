"""cuDNN plans every convolution of the shipped nets for devices that are only described.

Needs cuDNN, as PyPI's nvidia-cudnn-cu13 and nvidia-cublas in this Python or in the folder of
libcudnn.so.9 that PYCAFFE_CLR_CUDNN_DIR names; no GPU and no driver. -s shows the table.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pycaffe_clr import proto
from pycaffe_clr.cli.stand_in import StandIn
from pycaffe_clr.engine import build_net
from pycaffe_clr.prototxt import load_net

NETS = sorted((Path(__file__).parents[1] / "prototxt").glob("*.prototxt"))


def cudnn_folder() -> Path | None:
    """Where libcudnn.so.9 lies."""
    if named := os.environ.get("PYCAFFE_CLR_CUDNN_DIR"):
        return Path(named)
    try:
        spec = importlib.util.find_spec("nvidia.cudnn")
    except ModuleNotFoundError:
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "lib" if places else None


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    folder = cudnn_folder()
    if folder is None:
        pytest.skip("no cuDNN: pip install nvidia-cudnn-cu13==9.19.0.56 nvidia-cublas")
    return os.environ | {"PYCAFFE_CLR_CUDNN_DIR": str(folder)}


def per_axis(listed: Sequence[int], h: int, w: int, absent: int) -> tuple[int, int]:
    """A setting of both axes: listed once or twice, or by name."""
    if h or w:
        return h, w
    values = list(listed) or [absent]
    return values[0], values[-1]


def convolutions(path: Path, phase: int) -> Iterator[tuple[tuple[int, ...], bool, bool, str]]:
    """Of a net: sizes as in tests/cpp/test_cudnn_nets.cpp, whether it trains, has a bias, name."""
    net, _ = build_net(
        (parsed := load_net(path, {}, {}))[0],
        phase=phase,
        fuse=True,
        device="kernels",
        records=StandIn(None),
    )
    settings = {layer.name: layer.convolution_param for layer in parsed[0].layer}
    weights = {row["layer"]: row["shape"] for row in net.params() if row["index"] == 0}
    for row in net.plan():
        if row["op"] != "conv":
            continue
        (name,) = row["layers"]
        x, y = ([int(size) for size in row[k][0].split()[0].split("x")] for k in ("ins", "outs"))
        its = settings[name]
        sizes = (
            *x, *weights[name], *y[2:],
            *per_axis(its.stride, its.stride_h, its.stride_w, 1),
            *per_axis(its.pad, its.pad_h, its.pad_w, 0),
            *per_axis(its.dilation, 0, 0, 1),
        )  # fmt: skip
        yield sizes, row["backward"], its.bias_term, f"{path.stem}/{name}"


def test_every_shipped_convolution_has_plans(
    environment: dict[str, str],
    build: Path,
    tmp_path: Path,
) -> None:
    found: dict[tuple[int, ...], tuple[bool, bool, str]] = {}
    for path in NETS:
        for phase in (proto.TRAIN, proto.TEST):
            for sizes, trains, bias, name in convolutions(path, phase):
                before = found.get(sizes, (False, False, name))
                found[sizes] = (before[0] or trains, before[1] or bias, before[2])
    lines = [
        " ".join(map(str, [*sizes, int(trains), int(bias), name]))
        for sizes, (trains, bias, name) in found.items()
    ]
    assert len(lines) > 300
    (tmp_path / "list").write_text("\n".join(lines))
    run(build / "tests" / "cpp" / "test_cudnn_nets",
        environment | {"PYCAFFE_CLR_CONVOLUTIONS": str(tmp_path / "list")})  # fmt: skip


def test_plans_without_a_device(environment: dict[str, str], build: Path) -> None:
    run(build / "tests" / "cpp" / "test_cudnn", environment)


def test_half_an_installation_does_not_end_the_process(
    environment: dict[str, str],
    build: Path,
    tmp_path: Path,
) -> None:
    whole = Path(environment["PYCAFFE_CLR_CUDNN_DIR"])
    shutil.copy(whole / "libcudnn.so.9", tmp_path)
    program = build / "tests" / "cpp" / "test_cudnn"
    done = subprocess.run(
        [program, "limits_hold"],
        env=environment | {"PYCAFFE_CLR_CUDNN_DIR": str(tmp_path), "LD_LIBRARY_PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The rest may be there for every process.
    assert "cuDNN lacks libcudnn_graph.so.9" in done.stdout or "skipped" not in done.stdout


def run(program: Path, environment: dict[str, str]) -> None:
    """Run a C++ test that may skip nothing."""
    done = subprocess.run(
        [program], env=environment, capture_output=True, text=True, errors="replace", timeout=600
    )
    print(done.stdout)
    if done.returncode != 0 or "skipped: cuDNN" in done.stdout:
        pytest.fail(f"{done.stdout[-12000:]}{done.stderr[-4000:]}", False)
