"""`python -m act2sal.cli`."""

import sys

from act2sal.cli import main

sys.exit(main())
