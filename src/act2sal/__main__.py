"""`python -m act2sal`."""

import sys

from act2sal.cli import main

if __name__ == "__main__":
    sys.exit(main())
