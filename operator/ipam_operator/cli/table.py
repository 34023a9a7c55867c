"""Rows for people."""

from collections.abc import Sequence


def table(*lines: Sequence[str]) -> str:
    """Columns as wide as their widest word; the first line is the headings."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ("   ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in shown)
