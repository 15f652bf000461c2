"""``python -m deitft``: the command line, for launchers that want a module."""

from __future__ import annotations

import sys

from deitft.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
