"""`python -m splitjax`: the command line."""

import sys

from splitjax.cli import main

sys.exit(main())
