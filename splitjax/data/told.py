"""What a person is told when preparation is done."""

from __future__ import annotations

from .manifest import Manifest
from .small import OTHER


def notes(manifest: Manifest) -> list[str]:
    """Lines: how much was left out and why, with the first rows that could not be read; what clusters are made by."""
    lines = []
    if dropped := [f"{count:,} {reason.replace('_', ' ')}" for reason, count in manifest.dropped.items() if count]:
        lines.append(f"documents left out: {', '.join(dropped)}")
    if manifest.near_duplicates:
        domains = ", ".join(f"{name} {count:,}" for name, count in manifest.near_duplicates.items())
        lines.append(f"near-duplicates left out, by domain: {domains}; for instance")
        lines += [f"  {_opening(gone)} (kept: {_opening(kept)})" for kept, gone in manifest.near_examples]
    if manifest.terms == "characters":
        lines.append("clusters are of characters and pairs of them beside words: part of the text has no spaces")
    if manifest.small:
        what = "left out" if manifest.small_were == "drop" else f"merged into '{OTHER}'"
        domains = ", ".join(f"{name} ({tokens:,} tokens)" for name, tokens in manifest.small.items())
        lines.append(f"domains too small, {what}: {domains}")
    if manifest.skipped:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in manifest.skipped.items())
        lines.append(f"rows skipped: {reasons}")
        lines += [f"  {row}" for row in manifest.skipped_rows]
        if more := sum(manifest.skipped.values()) - len(manifest.skipped_rows):
            lines.append(f"  and {more:,} more")
    return lines


def _opening(text: str, length: int = 50) -> str:
    line = " ".join(text.split())
    return f"“{line[:length]}…”" if len(line) > length else f"“{line}”"
