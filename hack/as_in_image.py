"""`python -m hack.as_in_image`: the operator's program as its image has it, without Kubernetes' own client.

Kopf loads that client wherever it finds it, which takes as long as all the rest, and tests start hundreds of operators.
"""

import sys

from ipam_operator.__main__ import main

if __name__ == "__main__":
    # Python's way of saying that there is none.
    sys.modules["kubernetes"] = None  # type: ignore[assignment]
    sys.exit(main())
