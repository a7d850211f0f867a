"""Caffe's text and weight files: reading, upgrading, checking, writing.

Text: read_net, read_solver, solver_nets, layer_specs, schema, format_message. Weights and solver
states are in pycaffe_clr.weights.
"""

from pycaffe_clr.prototxt.changes import NetChanges
from pycaffe_clr.prototxt.files import (
    is_solver,
    load_net,
    load_solver,
    locate_net,
    locate_solver,
    parse_net,
    parse_solver,
    read_net,
    read_solver,
    unused_defines,
)
from pycaffe_clr.prototxt.rules import filter_net
from pycaffe_clr.prototxt.sets import apply_sets, parse_assignments
from pycaffe_clr.prototxt.solver_nets import SolverNets, solver_nets
from pycaffe_clr.prototxt.source import Parsed, Source
from pycaffe_clr.prototxt.spec import layer_specs, message_tree, schema
from pycaffe_clr.prototxt.text import parse_text
from pycaffe_clr.prototxt.writer import format_message

__all__ = [
    "Parsed",
    "Source",
    "NetChanges",
    "SolverNets",
    "apply_sets",
    "filter_net",
    "format_message",
    "is_solver",
    "load_net",
    "load_solver",
    "locate_net",
    "locate_solver",
    "layer_specs",
    "message_tree",
    "parse_assignments",
    "parse_net",
    "parse_solver",
    "parse_text",
    "read_net",
    "read_solver",
    "schema",
    "solver_nets",
    "unused_defines",
]
