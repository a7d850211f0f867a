"""`python -m pycaffe_clr` is the command `pycaffe_clr`."""

import sys

from pycaffe_clr.cli import main

if __name__ == "__main__":
    sys.exit(main())
