"""Where two runs disagree, image by image: their measured answers joined by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from cvflow.draw import Block, Facts, Gallery, Item
from cvflow.draw.images import beside
from cvflow.draw.scale import number
from cvflow.stages.report.finished_run import Finished

SHOWN = 12
"""Images in each gallery."""


@dataclass(frozen=True)
class Disagreement:
    """same_data: whether both were measured on the same split of the same data, so that the images
    are a paired sample.
    """

    first: Finished
    second: Finished
    same_data: bool

    @property
    def names(self) -> tuple[str, str]:
        return self.first.run.name, self.second.run.name

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """N x 2: where each common id stands among the first's answers and the second's."""
        place_by_id = {id: place for place, id in enumerate(self.second.column("id"))}
        pairs = [
            (place, place_by_id[id]) for place, id in enumerate(self.first.column("id")) if id in place_by_id
        ]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def gain(self) -> NDArray[np.float64]:
        """How much better the first's answer is, for each common id."""
        first_values, other = (
            done.quality[self.places[:, i]] for i, done in enumerate((self.first, self.second))
        )
        # -inf both: no gain
        return np.subtract(first_values, other, where=first_values != other, out=np.zeros(len(first_values)))

    @cached_property
    def right(self) -> NDArray[np.bool_] | None:
        """N x 2: which answers are right; None where the task knows only better and worse."""
        columns = [
            np.array(done.column("right"))[self.places[:, i]]
            for i, done in enumerate((self.first, self.second))
        ]
        both = np.stack(columns, axis=1)
        return None if any(value is None for value in both.flat) else both.astype(bool)

    @property
    def counts(self) -> dict[str, int] | None:
        """Of the common images: both right, only one, none."""
        if self.right is None:
            return None
        first_values, other = self.right.T
        return {
            "both_right": int((first_values & other).sum()),
            "only_first": int((first_values & ~other).sum()),
            "only_second": int((~first_values & other).sum()),
            "both_wrong": int((~first_values & ~other).sum()),
        }

    @property
    def p_value(self) -> float | None:
        """McNemar's exact test (McNemar 1947): how likely so uneven a division of the images that
        only one gets right is by chance.

        None where the images are no paired sample, or nothing is right or wrong.
        """
        counts = self.counts
        if counts is None or not self.same_data:
            return None
        return exact_mcnemar(counts["only_first"], counts["only_second"])

    def better(self, sign: int) -> list[int]:
        """Places in ``places`` of the images that the first (sign 1) or second (-1) answers better,
        the clearest first.

        Only those that it alone gets right, where there is right and wrong.
        """
        gain, selected = sign * self.gain, sign * self.gain > 0
        if self.right is not None:
            first_right, other = self.right.T[::sign]
            selected = first_right & ~other
        positions = np.flatnonzero(selected)
        order: list[int] = positions[np.argsort(-gain[positions], kind="stable")].tolist()
        return order

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "runs": list(self.names),
            "images": len(self.places),
            "same_data": self.same_data,
            "p_value": self.p_value,
            **(self.counts or {}),
        }

    def blocks(self) -> Iterator[Block]:
        yield Facts(self.facts())
        for sign, name, other in ((1, *self.names), (-1, *self.names[::-1])):
            picked = self.better(sign)
            title = (
                f"{name} right, {other} wrong" if self.right is not None else f"{name} better than {other}"
            )
            if picked:
                yield Gallery(list(self.items(picked[:SHOWN])), f"{title} ({number(len(picked))})")

    def facts(self) -> dict[str, Any]:
        first, second = self.names
        counts, p = self.counts, self.p_value
        if counts is None:
            return {
                "images of both": len(self.places),
                f"{first} better": len(self.better(1)),
                f"{second} better": len(self.better(-1)),
            }
        words = {
            "images of both": len(self.places),
            "both right": counts["both_right"],
            f"only {first} right": counts["only_first"],
            f"only {second} right": counts["only_second"],
            "both wrong": counts["both_wrong"],
        }
        why = "not measured on the same data: no test" if p is None else f"{p:.3g}: {verdict(p)}"
        return {**words, "McNemar's exact test, p": why}

    def items(self, picked: Sequence[int]) -> Iterator[Item]:
        """Pictures with the truth and both answers."""
        runs = self.first, self.second
        answers = [done.answers(self.places[picked, i].tolist()) for i, done in enumerate(runs)]
        positions = self.first.find(answer["id"] for answer in answers[0])
        for pair in zip(*answers, strict=True):
            shown_row = positions[pair[0]["id"]]
            words = [
                f"{done.run.name} {done.task.answer.caption(answer)}"
                for done, answer in zip(runs, pair, strict=True)
            ]
            drawn = beside(*(self.first.draw(shown_row, values) for values in (shown_row.truth, *pair)))
            yield Item(
                drawn,
                f"{self.first.task.answer.caption(shown_row.truth)}: {', '.join(words)}",
                note=str(shown_row.row["path"]),
            )


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided; 1 where there is no disagreement."""
    trials = only_first + only_second
    return float(binomtest(only_first, trials).pvalue) if trials else 1.0


def verdict(p: float) -> str:
    return "more than chance" if p < 0.05 else "may well be chance"
