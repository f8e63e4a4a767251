"""Which format reads data for a task, and what is said if none does: what was looked for and
missed, and what to type.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cvflow.annotations.image import encode_png
from cvflow.errors import Fault, RequestError
from cvflow.verbs.recognise_for_task import recognise_for

PIXELS = encode_png(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Files by path below ``data``; one without contents is an image."""

    def make(*paths: str, **contents: str) -> Path:
        for path in paths:
            file = tmp_path / "data" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(PIXELS)
        for path, text in contents.items():
            file = tmp_path / "data" / path.replace("__", "/").replace("_DOT_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / "data"

    return make


def refused(task: str, data: Path) -> list[Fault]:
    with pytest.raises(RequestError) as caught:
        recognise_for(task, data, "PATH")
    return list(caught.value.faults)


def test_a_folder_of_no_known_layout_is_told_what_each_format_looks_for(tree: Tree) -> None:
    data = tree(notes__readme_DOT_txt="x", notes__more_DOT_md="y", list_DOT_doc="z")
    (fault,) = refused("segmentation", data)
    assert fault.got == f"'{data}', which holds the folders notes, 1 .doc"
    assert "image_mask: images/ and masks/" in fault.expected
    assert "docs/your-images.md" in fault.fix


def test_a_class_that_only_val_has_is_named_and_no_other_task(tree: Tree) -> None:
    names = [
        f"{split}/{kind}/{i}.png" for split in ("train", "val") for kind in ("cat", "dog") for i in range(2)
    ]
    data = tree(*names, "val/owl/0.png")
    (fault,) = refused("classification", data)
    assert fault.where == f"{data}/val/owl"
    assert fault.got == "class 'owl', not in train"


def test_one_folder_too_deep(tree: Tree) -> None:
    data = tree("flowers/daisy/a.png", "flowers/daisy/b.png", "flowers/tulip/a.png")
    (fault,) = refused("classification", data)
    assert fault.got == "one class: 'flowers'"
    assert fault.fix == f"Its folders daisy, tulip look like classes: type {data}/flowers."


def test_another_task_is_named_only_if_no_reader_of_this_one_recognises_anything(tree: Tree) -> None:
    data = tree("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png")
    assert recognise_for("classification", data, "PATH")[0].name == "image_folder"
    (fault,) = refused("segmentation", data)
    assert fault.fix == "Type --task classification or --task embedding."


def test_near_misses_come_alone_and_say_what_is_wrong(tree: Tree) -> None:
    masks = tree("images/a.png", "images/b.png", masks__a_DOT_npy="x", masks__b_DOT_npy="x")
    (fault,) = refused("segmentation", masks)
    assert (
        "masks/ holds .npy files, which are not read as masks: save them as PNG of class indices" in fault.got
    )
    assert "for image_mask, images/ and masks/" in fault.expected


def test_masks_of_other_names_are_named(tree: Tree) -> None:
    (fault,) = refused("segmentation", tree("images/img_0.png", "images/img_1.png", "masks/mask_0.png"))
    assert fault.got == "no image has a mask of its name: images/img_0.png, masks/mask_0.png, ..."
    assert "data.format.image_end and .mask_end" in fault.fix


def test_a_near_miss_of_pairs_is_told_the_patterns_to_type(tree: Tree) -> None:
    data = tree("frames/frame_0000.png", "frames/frame_0001.png", "flow/frame_0000.txt")
    (fault,) = refused("flow", data)
    assert "data.format.first=frames/{id}_{n}.png data.format.second=frames/{id}_{n+1}.png" in fault.got
    assert "data.format.flow=flow/{id}_{n}.flo" in fault.got


def test_a_near_miss_of_voc(tree: Tree) -> None:
    (fault,) = refused("localization", tree("JPEGImages/a.png", Annotations__a_DOT_txt="x"))
    assert "Annotations/ holds no XML files" in fault.got


def test_the_surest_format_reads(tree: Tree) -> None:
    """A table that has the columns of boxes is read as such for boxes, and as a manifest for classes."""
    table = "path,label,xmin,ymin,xmax,ymax\na.png,cat,1,1,5,5\nb.png,dog,1,1,5,5\n"
    data = tree("a.png", "b.png", labels_DOT_csv=table)
    assert recognise_for("localization", data, "PATH")[0].name == "boxes_csv"
    assert recognise_for("classification", data, "PATH")[0].name in ("boxes_csv", "manifest")
