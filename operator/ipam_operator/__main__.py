"""`python -m ipam_operator`."""

import sys

from ipam_operator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
