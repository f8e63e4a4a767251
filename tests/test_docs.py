"""What the documentation says is true: the reference is current, commands parse, the plugin example runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml
from PIL import Image

from cvflow import registry
from cvflow.cli.app import app
from cvflow.project.resolved import resolve_layers
from cvflow.recipe import reference
from cvflow.recipe.layers import load

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
CVFLOW = str(Path(sys.executable).parent / "cvflow")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, indentation within lists taken off."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def commands() -> list[tuple[str, str]]:
    """(page, line) of every cvflow command: those in shell blocks, and those in running text that
    take arguments.
    """
    found = []
    for page in PAGES:
        lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
        lines += re.findall(r"`(cvflow [^`]+)`", page.read_text())
        found += [(page.name, line) for line in lines if line.startswith("cvflow ")]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_the_command_line_s(page: str, line: str) -> None:
    verb, *arguments = shlex.split(line, comments=True)[1:]
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if verb in ("--help", "COMMAND"):
        return
    assert verb in verbs, f"{page}: {line}"
    if arguments and "--help" not in arguments:
        # raises where an argument or option does not exist
        verbs[verb].make_context(verb, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [
        link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not link.startswith(("http", "#"))
    ]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


def test_make_targets_are_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    named = {
        target for page in PAGES for target in re.findall(r"\bmake (\w+)(?=[`\s]*[#`\n])", page.read_text())
    }
    assert {"run", "test"} <= named
    assert [target for target in named if f"\n{target}:" not in makefile] == []


def test_the_recipe_reference_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert reference.main(["--check"]) == 0, f"type: {reference.COMMAND}"


def test_an_outdated_reference_is_noticed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 1
    assert reference.COMMAND in capsys.readouterr().err
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    page = project / reference.PAGE
    page.write_text(page.read_text().replace("`0.1`", "`0.3`", 1))
    assert reference.main(["--check"]) == 1


def test_the_reference_holds_every_key_and_component() -> None:
    text = reference.page()
    for key in (
        "data.split.val",
        "train.warmup_epochs",
        "register.promote.threshold",
        "compute.workers",
        "plugins",
    ):
        assert f"| `{key}` |" in text
    for kind in registry.RECIPE_KINDS:
        section = text.partition(f"\n## {kind.capitalize()} components\n")[2].partition("\n## ")[0]
        assert re.findall(r"^### (.+)$", section, re.MULTILINE) == [name for name, _ in reference.own(kind)]


def test_the_plugin_example_runs(project: Path) -> None:
    """A network and a format from docs/extending.md, from raw images to test metrics, each stage a
    process of its own.
    """
    for block in blocks(REPOSITORY / "docs" / "extending.md", "(?:python|yaml)"):
        (project / block.split(maxsplit=2)[1]).write_text(block)
    draw_shapes(project / "shapes")
    (project / "params.yaml").write_text(
        "runs: {shapes: {recipe: shapes.yaml, source: shapes, overrides: {}}}\n"
    )
    for stage in ("resolve", "prepare", "train", "evaluate"):
        done = subprocess.run([CVFLOW, "stage", stage, "shapes"], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (
        json.loads((project / "runs/shapes/evaluation/metrics.json").read_text())["metrics"]["accuracy"] >= 0
    )
    described = json.loads((project / "runs/shapes/model/model.json").read_text())
    assert described["recipe"]["model"]["backbone"] == {"name": "tiny_net", "width": 4}
    assert described["dataset"]["classes"] == ["bar", "box"]


@pytest.mark.parametrize(
    "fragment",
    blocks(REPOSITORY / "docs" / "training.md", "yaml"),
    ids=lambda text: " ".join(text.split())[:40],
)
def test_fragments_of_the_training_page_are_of_a_recipe(project: Path, fragment: str) -> None:
    Path("r.yaml").write_text(
        yaml.safe_dump({"task": "classification", "data": {"format": "digits"}} | yaml.safe_load(fragment))
    )
    resolved = resolve_layers(load(Path("r.yaml"), {})).recipe
    assert set(yaml.safe_load(fragment)) <= set(resolved)


def test_the_training_page_names_every_component() -> None:
    page = (REPOSITORY / "docs" / "training.md").read_text()
    kinds = ("optimizer", "schedule", "init", "transform", "mix")
    assert [name for kind in kinds for name, _ in reference.own(kind) if f"`{name}`" not in page] == []


def draw_shapes(folder: Path, count: int = 20) -> None:
    """Bars and boxes, 16x16 grey, and their labels.csv."""
    folder.mkdir()
    lines = ["file,class"]
    for i in range(count):
        kind = ("bar", "box")[i % 2]
        image = Image.new("L", (16, 16), i)
        image.paste(255, (2, 2, 14, 5) if kind == "bar" else (4, 4, 12, 12))
        image.save(folder / f"{i}.png")
        lines.append(f"{i}.png,{kind}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def test_the_recipe_explained_is_the_shipped_one() -> None:
    (explained,) = blocks(REPOSITORY / "README.md", "yaml")
    assert yaml.safe_load(explained) == yaml.safe_load((REPOSITORY / "pipelines" / "digits.yaml").read_text())
