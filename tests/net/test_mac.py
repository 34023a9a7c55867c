"""MAC addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam_operator.net.mac import parse_mac

pytestmark = pytest.mark.unit

OCTETS = st.lists(st.integers(0, 255), min_size=6, max_size=6)


@given(OCTETS, st.sampled_from([":", "-", ".", ""]), st.booleans())
def test_four_spellings_have_one_form(octets: list[int], separator: str, upper: bool) -> None:  # noqa: FBT001
    """Colons, hyphens, Cisco's dots or nothing, in any case: lower case with colons; a group's is refused."""
    pairs = [f"{octet:02x}" for octet in octets]
    groups = [pairs[i] + pairs[i + 1] for i in (0, 2, 4)] if separator == "." else pairs
    text = separator.join(groups)
    text = text.upper() if upper else text
    if octets[0] & 1 or not any(octets):
        with pytest.raises(ValueError, match="one interface"):
            parse_mac(text)
    else:
        assert parse_mac(text) == ":".join(pairs)
        assert parse_mac(parse_mac(text)) == parse_mac(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "02:00:5e-10-00-01", "0200:5e10:0001", "02:00:5e:10:00:0g",
        "2:0:5e:10:0:1", " 02:00:5e:10:00:01", "02:00:5e:10:00:01\n", "02.00.5e.10.00.01", "\uff102:00:5e:10:00:01",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """Mixed or missing separators, missing zeros, other lengths, and digits of other scripts."""
    with pytest.raises(ValueError, match="such as 02:00:5e:10:00:01"):
        parse_mac(text)
