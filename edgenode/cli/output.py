"""How answers look: one JSON object a line, tables of plain text, and numbers for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click


def write_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, whatever the terminal's width, so that scripts and papers can take it as it is."""
    click.echo("\n".join(table_lines(columns, rows)))


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table; numbers stand to the right."""
    cells = [[_cell(one) for one in row] for row in rows]
    numeric = [bool(cells) and all(_is_number(row[at]) for row in cells) for at in range(len(columns))]
    widths = [max(len(line[at]) for line in [list(columns), *cells]) for at in range(len(columns))]
    lines = []
    for line in [[column.upper() for column in columns], *cells]:
        parts = [text.rjust(width) if right else text.ljust(width) for text, width, right in zip(line, widths, numeric, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return lines


def write_facts(facts: Mapping[str, object]) -> None:
    """One name and value a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {_cell(value)}".rstrip())


def brief(value: Any, width: int = 60) -> str:
    """A summary in one short line."""
    if value is None:
        return ""
    text = json.dumps(_rounded(value), ensure_ascii=False, separators=(", ", ": "), default=str)
    return text if len(text) <= width else text[: width - 1] + "…"


def rate_text(rate: int) -> str:
    """A number of the order of 10^9, short."""
    return f"{rate / 1e9:.1f} G" if rate >= 1e9 else f"{rate / 1e6:.0f} M"


def time_text(time_ns: int | None) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    if time_ns is None:
        return ""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def window_text(start_ns: int, end_ns: int) -> str:
    """A window as its end and its length."""
    return f"{(end_ns - start_ns) / 1e9:g} s to {time_text(end_ns)}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(text: str) -> bool:
    return not text or text.lstrip("-").replace(",", "").replace(".", "", 1).isdigit()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_rounded(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _rounded(one) for name, one in value.items()}
    return value
