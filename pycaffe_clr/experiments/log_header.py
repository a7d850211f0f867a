"""What a Caffe log says before its first iteration: solver, net, batch size, GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_LINE = re.compile(r"[IWEF]\d{4,8} \d\d:\d\d:\d\d")
_FILLER = re.compile(r"weight_filler\s*\{\s*type:\s*\"(\w+)\"")


@dataclass
class Header:
    """The head of one session's log. Of several solvers (a log of several GPUs) the first counts.

    settings: the solver's text. net: the training net's, which glog cuts off after 30,000 bytes.
    nvidia: whether it is NVIDIA's Caffe.
    """

    settings: str = ""
    net: str = ""
    gpu_count: int = 1
    nvidia: bool = field(default=False)

    def text(self, line: str, lines: Sequence[str], begin: int) -> None:
        """Take the text that follows `Initializing solver|net from parameters:`."""
        name = "settings" if "Initializing solver" in line else "net"
        if getattr(self, name) or "from parameters" not in line:
            return
        end = begin
        while end < len(lines) and not _LINE.match(lines[end]):
            end += 1
        setattr(self, name, "".join(lines[begin:end]).strip("\n"))

    def gpus(self, line: str) -> None:
        """Take `Using GPUs 0, 1, 2, 3`."""
        self.gpu_count = max(1, len(re.findall(r"\d+", line.partition("Using GPUs ")[2])))

    def number(self, name: str, default: int = 0) -> int:
        """A whole number among the solver's settings."""
        found = re.search(rf"^{name}:\s*(\d+)", self.settings, re.MULTILINE)
        return int(found[1]) if found else default

    @property
    def replicas(self) -> int:
        """GPUs, or `replicas` where one device stands for several."""
        return self.number("replicas", self.gpu_count)

    @property
    def batch_size(self) -> int:
        """Of the training net's data layer, on one GPU; 0 where the log has none."""
        found = re.search(r"batch_size:\s*(\d+)", self.net)
        return int(found[1]) if found else 0

    @property
    def batch(self) -> int:
        """Samples of one update; 0 where not known.

        NVIDIA's Caffe divides a batch among its GPUs, some versions before they print the net and
        some after: there the batch of several GPUs is not known.
        """
        if self.nvidia and self.gpu_count > 1:
            return 0
        return self.batch_size * self.replicas * self.number("iter_size", 1)

    def record(self) -> dict[str, Any]:
        """What is known, by name."""
        net_name = re.search(r"^name:\s*\"([^\"]*)\"", self.net, re.MULTILINE)
        net_file = re.search(r"^(?:train_)?net:\s*\"([^\"]*)\"", self.settings, re.MULTILINE)
        found = {
            "settings": self.settings,
            "net_name": net_name[1] if net_name else "",
            "net_file": net_file[1] if net_file else "",
            "fillers": sorted(set(_FILLER.findall(self.net))),
            "batch_size": self.batch_size,
            "replicas": self.replicas if self.settings or self.gpu_count > 1 else 0,
        }
        return {name: value for name, value in found.items() if value}
