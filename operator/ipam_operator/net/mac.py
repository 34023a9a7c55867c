"""MAC addresses (IEEE 802, EUI-48): four spellings, one form."""

import re
from typing import Final

FORMS: Final = "must be a MAC address, such as 02:00:5e:10:00:01, 02-00-5e-10-00-01, 0200.5e10.0001 or 02005e100001"
UNICAST: Final = "must be the MAC address of one interface: not a group's (second digit odd), and not all zeros"

SPELLINGS: Final = (
    "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}([.][0-9A-Fa-f]{4}){2}"
    "|[0-9A-Fa-f]{12}"
)
"""As a regular expression of Python and of RE2 alike."""


def parse_mac(text: str) -> str:
    """The address in lower case with colons.

    Raises:
        ValueError: not a MAC address, or a group address: bit 0 of the first octet is set (IEEE 802, 8.2.2).
    """
    if re.fullmatch(SPELLINGS, text) is None:
        raise ValueError(FORMS)
    digits = re.sub("[:.-]", "", text).lower()
    if int(digits[:2], 16) & 1 or int(digits, 16) == 0:
        raise ValueError(UNICAST)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))
