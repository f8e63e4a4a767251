"""What prepare has to report: counts, sizes, and each thing left out or noticed, by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvflow.formats.record import Record

SHARE = " share"
"""The end of the topics under which images in two splits are listed."""
IDENTITY_IN_TWO_SPLITS = "identity in two splits"
"""The topic of identities that are not new in val or test."""
MOST_SUMMARISED = 5
"""Findings that the summary lists."""


def printable(path: str) -> str:
    """Return the path with the bytes that are not valid UTF-8 written out."""
    return path.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Finding:
    """Something to report about the data.

    file: relative to the source. action: ``left out``, ``skipped`` (was no record to begin with) or ``kept``.
    topic: the kind of thing. records: the records to show for it, if any. id: of the record, if it is
    about one.
    """

    file: str
    what: str
    action: str
    topic: str
    records: Sequence[Record] = field(default=(), compare=False, repr=False)
    id: str = ""

    @property
    def name(self) -> str:
        """The file, and the id if that says more."""
        if not self.id or self.file == self.id:
            return self.file
        # The file of a record may have a line number behind it.
        if self.file.startswith(f"{self.id} ("):
            return self.file
        return f"{self.file}, id {self.id}"

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


@dataclass(frozen=True)
class Validation:
    """The report about a dataset.

    counts: split -> rows. class_counts: split -> class -> rows; empty if rows have no single class.
    findings: the gravest first. facts: sizes in pixels, imbalance, result of the neighbours' vote.
    examples: some records of each class, to show.
    """

    counts: Mapping[str, int]
    class_counts: Mapping[str, Mapping[str, int]]
    findings: Sequence[Finding]
    facts: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Record] = ()

    def topics(self) -> dict[str, int]:
        """Return topic -> number of findings, in the findings' order."""
        return dict(Counter(finding.topic for finding in self.findings))

    def summary(self) -> str:
        """Return a few lines for the console: the counts, then what is shared, left out or skipped."""
        lines = [self._counts_line()]
        lines += self._shared_lines()
        lines += self._lost_lines()
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """Return all but the examples, as JSON data."""
        findings = []
        for finding in self.findings:
            content = {
                "file": finding.file,
                "id": finding.id,
                "what": finding.what,
                "action": finding.action,
                "topic": finding.topic,
            }
            findings.append(content)
        return {
            "counts": self.counts,
            "class_counts": self.class_counts,
            "facts": self.facts,
            "findings": findings,
        }

    def _counts_line(self) -> str:
        rows = ", ".join(f"{split} {count}" for split, count in self.counts.items())
        actions: Counter[str] = Counter()
        for finding in self.findings:
            action = "noticed" if finding.action == "kept" else finding.action
            actions[action] += 1
        line = f"prepared: {rows}"
        for action, count in sorted(actions.items()):
            line += f"; {count} {action}"
        return line

    def _shared_lines(self) -> Iterator[str]:
        """Yield a line for each kind of overlap of the splits: images first, then identities."""
        topics = self.topics()
        for topic, count in topics.items():
            if topic.endswith(SHARE):
                yield f"  {count} images: {topic} them"
        if IDENTITY_IN_TWO_SPLITS in topics:
            yield f"  identities in two splits: {topics[IDENTITY_IN_TWO_SPLITS]}"

    def _lost_lines(self) -> Iterator[str]:
        """Yield a line for each of the first findings of what was left out or skipped."""
        lost = [finding for finding in self.findings if finding.action != "kept"]
        for finding in lost[:MOST_SUMMARISED]:
            yield f"  {finding}"
        if len(lost) > MOST_SUMMARISED:
            yield f"  and {len(lost) - MOST_SUMMARISED} more: see validation.json"
