"""`pycaffe_clr version`: what a report of a problem should quote."""

from __future__ import annotations

import argparse

from pycaffe_clr.errors import EngineError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`pycaffe_clr version` has no flags."""
    parser.description = "Versions, backends and processor."


def main(args: argparse.Namespace) -> int:
    """Print them; returns 0 also where the compiled module cannot be loaded, which it says."""
    from pycaffe_clr.devices import gpu_lines
    from pycaffe_clr.native import core
    from pycaffe_clr.train import machine

    for name, value in machine.versions().items():
        print(f"{name} {value}")
    found = machine.processor()
    print(f"processor {found['model']} ({found['features']})")
    try:
        module = core()
        print(f"backends {', '.join(module.backends())}; threads {module.threads()}")
        for line in [*gpu_lines(), *module.backend_problems(), *module.backend_remarks()]:
            print(line)
    except EngineError as error:
        print(f"no engine: {error}")
    return 0
