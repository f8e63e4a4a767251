"""What prepare found: counts, sizes, and each thing left out or noticed, by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvflow.formats.record import Record

SHARE = " share"
"""How the topics end under which one image in two splits is listed."""
KNOWN = "identity in two splits"


@dataclass(frozen=True)
class Finding:
    """file: relative to the source. action: ``left out``, ``skipped`` (never was a record) or ``kept``. topic: the kind of thing.

    id: of the record, where it is about one. records: those it is about, to be shown, where they are known.
    """

    file: str
    what: str
    action: str
    topic: str
    records: Sequence[Record] = field(default=(), compare=False, repr=False)
    id: str = ""

    @property
    def name(self) -> str:
        """The file, and the id where it is another."""
        told = not self.id or self.file == self.id or self.file.startswith(f"{self.id} (")
        return self.file if told else f"{self.file}, id {self.id}"

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


@dataclass(frozen=True)
class Validation:
    """counts: split -> rows. class_counts: split -> class -> rows; empty where rows have no single class.

    findings: the gravest first. facts: sizes in pixels, imbalance, what the neighbours' vote said. examples: some records of
    each class, to be shown.
    """

    counts: Mapping[str, int]
    class_counts: Mapping[str, Mapping[str, int]]
    findings: Sequence[Finding]
    facts: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Record] = ()

    def topics(self) -> dict[str, int]:
        """topic -> how many findings, in the findings' order."""
        return dict(Counter(f.topic for f in self.findings))

    def summary(self) -> str:
        """A few lines for the console: the counts, how much was found, the first findings of what was left out or skipped."""
        rows = ", ".join(f"{split} {count}" for split, count in self.counts.items())
        actions = Counter("noticed" if f.action == "kept" else f.action for f in self.findings)
        found = "".join(f"; {count} {action}" for action, count in sorted(actions.items()))
        shared = [
            f"  {count} images: {topic} them"
            for topic, count in self.topics().items()
            if topic.endswith(SHARE)
        ]
        shared += [
            f"  identities in two splits: {count}" for topic, count in self.topics().items() if topic == KNOWN
        ]
        lost = [f"  {f}" for f in self.findings if f.action != "kept"]
        more = [f"  and {len(lost) - 5} more: see validation.json"] if len(lost) > 5 else []
        return "\n".join([f"prepared: {rows}{found}", *shared, *lost[:5], *more])

    def plain(self) -> dict[str, Any]:
        """All but the examples, as JSON data."""
        findings = [
            {"file": f.file, "id": f.id, "what": f.what, "action": f.action, "topic": f.topic}
            for f in self.findings
        ]
        return {
            "counts": self.counts,
            "class_counts": self.class_counts,
            "facts": self.facts,
            "findings": findings,
        }
