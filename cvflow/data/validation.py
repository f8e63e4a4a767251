"""What prepare found: counts, and each thing left out or noticed, by file; as JSON and as one HTML page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

SHOWN = 1000
"""Findings that the page lists; the JSON has all."""


@dataclass(frozen=True)
class Finding:
    """file: relative to the source. action: ``left out``, ``skipped`` (never was an image) or ``kept``."""

    file: str
    what: str
    action: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class Validation:
    """counts: split -> rows. class_counts: split -> class -> rows; empty where rows have no single class."""

    counts: Mapping[str, int]
    class_counts: Mapping[str, Mapping[str, int]]
    findings: Sequence[Finding]

    def summary(self) -> str:
        """A few lines for the console: the counts, how much was found, the first findings of what was left out."""
        rows = ", ".join(f"{split} {count}" for split, count in self.counts.items())
        actions = Counter(f.action for f in self.findings)
        found = "".join(f"; {count} {action}" for action, count in sorted(actions.items()))
        lost = [f"  {f}" for f in self.findings if f.action == "left out"]
        more = [f"  and {len(lost) - 5} more: see validation.html"] if len(lost) > 5 else []
        return "\n".join([f"prepared: {rows}{found}", *lost[:5], *more])

    def write(self, directory: Path) -> None:
        """``validation.json`` and ``validation.html``."""
        (directory / "validation.json").write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (directory / "validation.html").write_text(self._page(), encoding="utf-8")

    def _page(self) -> str:
        classes = list(dict.fromkeys(c for counts in self.class_counts.values() for c in counts))
        counts = [["all", *self.counts.values()], *([c, *(n[c] for n in self.class_counts.values())] for c in classes)]
        findings = [[f.file, f.what, f.action] for f in self.findings[:SHOWN]]
        more = f"<p>{len(self.findings) - SHOWN} more in validation.json.</p>" if len(self.findings) > SHOWN else ""
        return _PAGE.format(
            counts=_table(["class", *self.counts], counts),
            findings=(_table(["file", "what", "action"], findings) + more) if findings else "<p>Nothing.</p>",
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join(["<table>", line(head, "th"), *(line(row, "td") for row in rows), "</table>"])


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Validation</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: .2rem .8rem; border-bottom: 1px solid #ddd; }}
</style></head><body>
<h1>Validation</h1>
<h2>Rows</h2>
{counts}
<h2>Left out or noticed</h2>
{findings}
</body></html>
"""
