"""Write the fields of caffe.proto as rows of C++: write_schema.py FILE. A step of the build.

By the installed package, or by the checkout's where grpcio-tools is there to compile its schema.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from pycaffe_clr.prototxt.spec import schema  # noqa: E402


def literal(field: dict) -> str:
    """The default of a scalar field, or the type of a message, as a C++ string."""
    value = field["message"] if field["kind"] == "message" else field["default"]
    text = value.decode() if isinstance(value, bytes) else str(value)
    return json.dumps(text.lower() if field["kind"] == "bool" else text)


rows = [
    f'{{"{message}", "{name}", "{field["kind"]}", {str(field["repeated"]).lower()}, '
    f"{literal(field)}}},\n"
    for message, fields in schema()["messages"].items()
    for name, field in fields.items()
]
Path(sys.argv[1]).write_text("".join(rows))
