"""What the API is called. Plain constants, so that reading them costs no import of pydantic."""

from typing import Final

GROUP: Final = "ipam.dotmac.io"
VERSION: Final = "v1alpha1"
CATEGORY: Final = "ipam"
"""`kubectl get ipam` lists all of our kinds."""
