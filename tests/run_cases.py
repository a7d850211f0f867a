"""Folders of runs as `run` leaves them, small and made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def make_run(
    root: Path,
    setting: str,
    plan: str,
    state: str = "finished",
    accuracy: float = 0.9,
    **more: Any,
) -> Path:
    """A run's folder. accuracy: of its last test; on the whole test set it is 0.01 less."""
    folder = root / setting / plan
    folder.mkdir(parents=True)
    record: dict[str, Any] = {"state": state, "name": setting, "max_iter": 100, "batch": 8}
    if state not in ("running", "starting"):
        entry: dict[str, Any] = {"net": 0}
        entry["last"] = {"iteration": 100, "outputs": {"loss": 0.5, "accuracy": accuracy}}
        if state == "finished":
            entry["whole"] = {"outputs": {"accuracy": accuracy - 0.01}}
        record |= {"iteration": 100 if state == "finished" else 40, "tests": [entry]}
    (folder / "run.json").write_text(json.dumps(record | more))
    (folder / ".lock").touch()
    (folder / "metrics.csv").write_text(
        "iteration,loss,smoothed_loss,lr,momentum\n0,2,2,0.1,0.9\n1,1,1,0.1,0.9\n2,0."
    )
    (folder / "tests.csv").write_text(
        f"iteration,net,accuracy,loss\n0,0,0.1,2.3\n100,0,{accuracy},0.5\n"
    )
    return folder
