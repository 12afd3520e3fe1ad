"""`python -m splitjax`: the command line."""

import os
import sys

if not sys.flags.safe_path and not os.path.samefile(sys.path[0] or ".", os.path.join(os.path.dirname(__file__), "..")):
    del sys.path[0]  # the working folder, where `./numpy.py` would be run for numpy

from splitjax.cli import main

sys.exit(main())
