"""``python -m labelfill``: the same as the command ``labelfill``."""

import sys

from labelfill.cli.process import main

if __name__ == "__main__":
    sys.exit(main())
