"""The documentation leads to the code: every name that links to a file is defined there, and common
questions take two hops.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LINK = re.compile(r"\[`(\w+)`\]\(([^)#]+\.py)\)")
ANY_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
GUIDES = [REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "docs/how-it-works.md"]
START = REPOSITORY / "docs/index.md"


def defined(file: Path) -> dict[str, int]:
    """Name -> line of every function, class, method and constant of a file."""
    lines = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            lines[node.name] = node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            lines.update({target.id: node.lineno for target in targets if isinstance(target, ast.Name)})
    return lines


def code_links(page: Path) -> list[tuple[str, Path]]:
    """(name, file) of each link from a name to the file that defines it."""
    return [(name, (page.parent / target).resolve()) for name, target in LINK.findall(page.read_text())]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_linked_name_is_defined_in_its_file(page: Path) -> None:
    links = code_links(page)
    assert len(links) > 10
    assert [(name, file.name) for name, file in links if name not in defined(file)] == []


QUESTIONS = {
    "how a checkpoint is written": ("checkpoint is written", "save", "engine/checkpoint.py"),
    "how an optimiser is added": ("optimiser", "sgd", "engine/optimizers.py"),
    "where the promotion rule stands": ("promotion rule", "decide", "stages/register/promotion.py"),
    "where a mask is resized": ("mask", "resized", "loading/transforms/geometry.py"),
    "what makes a stage rerun": ("stage rerun", "STAGES", "project/graph.py"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_in_two_hops(question: str) -> None:
    """From the documentation's index: one hop to a page that has the words, one to the line."""
    words, name, path = QUESTIONS[question]
    pages = [(START.parent / target).resolve() for target in ANY_LINK.findall(START.read_text())]
    pages = [page for page in pages if page.suffix == ".md" and page.exists()]
    file = REPOSITORY / "cvflow" / path
    answering = [
        page
        for page in pages
        for paragraph in re.split(r"\n\n|\n(?=[|\d-])", page.read_text())
        if words in paragraph.replace("**", "").replace("\n", " ")
        and (name, file) in _links_in(paragraph, page)
    ]
    assert answering, f"no page that the index links to says '{words}' beside a link to {name} in {path}"
    assert defined(file)[name] > 0


def _links_in(paragraph: str, page: Path) -> list[tuple[str, Path]]:
    return [(name, (page.parent / target).resolve()) for name, target in LINK.findall(paragraph)]
