"""Identity folders and the built-in numbers: who is who, and that no identity is in two splits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvflow.config import SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import RequestError
from cvflow.formats.built_in.digit_identities import DigitIdentities
from cvflow.formats.identity_folder import IdentityFolder
from cvflow.formats.record import Record
from cvflow.tasks.embedding import Embedding

Make = Callable[..., Path]
PEOPLE = {f"s{i}": 3 for i in range(1, 13)}
SIGNS = {"Latin/character01": 2, "Latin/character02": 2, "Greek/character01": 2, "Greek/character02": 3}


def named(reader: IdentityFolder) -> dict[str, list[Record]]:
    """identity -> its records."""
    found: dict[str, list[Record]] = {}
    for record in reader:
        found.setdefault(reader.classes[record.annotation["identity"]], []).append(record)
    return found


def test_a_folder_is_an_identity_at_any_depth(make_folder: Make) -> None:
    found = named(IdentityFolder(make_folder(SIGNS)))
    assert {name: len(records) for name, records in found.items()} == SIGNS
    assert all(
        record.group == name and record.id.startswith(f"{name}/")
        for name, records in found.items()
        for record in records
    )
    assert {record.split for records in found.values() for record in records} == {None}


def test_what_is_deeper_than_depth_belongs_to_the_identity(make_folder: Make) -> None:
    found = named(IdentityFolder(make_folder(SIGNS), depth=1))
    assert {name: len(records) for name, records in found.items()} == {"Latin": 4, "Greek": 5}


def test_a_zip_is_read_where_it_lies(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder(SIGNS)
    with zipfile.ZipFile(tmp_path / "signs.zip", "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, f"small/{path.relative_to(folder)}")
    packed, plain = list(IdentityFolder(tmp_path / "signs.zip")), list(IdentityFolder(folder))
    assert [(r.id, r.annotation, r.images["image"]()) for r in packed] == [
        (r.id, r.annotation, r.images["image"]()) for r in plain
    ]


def test_split_folders_are_kept_and_are_no_part_of_the_name(make_folder: Make) -> None:
    found = named(IdentityFolder(make_folder({"train/a": 2, "train/b": 2, "test/c": 2})))
    assert {name: records[0].split for name, records in found.items()} == {
        "a": "train",
        "b": "train",
        "c": "test",
    }


def test_patterns_give_identities_to_test_and_val(make_folder: Make) -> None:
    found = named(IdentityFolder(make_folder(PEOPLE), test=("s1?", "s3"), val=("s4",)))
    splits = {name: {record.split for record in records} for name, records in found.items()}
    assert {name for name, split in splits.items() if split == {"test"}} == {"s10", "s11", "s12", "s3"}
    assert {name for name, split in splits.items() if split == {"val"}} == {"s4"}
    nested = named(IdentityFolder(make_folder(SIGNS, "signs"), test=("Greek/*",)))
    assert {name for name, records in nested.items() if records[0].split == "test"} == {
        "Greek/character01",
        "Greek/character02",
    }


def test_turned_identities_are_new_ones_outside_of_test(make_folder: Make) -> None:
    folder = make_folder(SIGNS)
    reader = IdentityFolder(folder, test=("Greek/*",), turned=True)
    found = named(reader)
    assert len(found) == len(reader.classes) == 2 * 4 + 2
    assert {len(records) for name, records in found.items() if name.startswith("Latin")} == {2}
    assert found["Latin/character01@90"][0].group == "Latin/character01"
    assert len({record.id for record in reader}) == 2 * 2 * 4 + 5
    upright = np.asarray(Image.open(folder / "Latin/character01/000.png"))
    turned = np.asarray(Image.open(io.BytesIO(found["Latin/character01@90"][0].images["image"]())))
    assert np.array_equal(turned, np.rot90(upright))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test": ("s40",)},
            "data.format.test: got 's40', expected an identity or a pattern of some: .*Did you mean 's4'",
        ),
        (
            {"test": ("s1*",), "val": ("s11",)},
            "data.format.test: got 's1.', which takes 's11' that is in val as well",
        ),
        ({"test": ("*",)}, "patterns that take every identity"),
    ],
)
def test_wrong_patterns_are_named(make_folder: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        IdentityFolder(make_folder(PEOPLE), **options)


def test_sources_without_identities_are_refused(make_folder: Make) -> None:
    with pytest.raises(RequestError, match="images of one identity, 'a', expected a folder for each of two"):
        IdentityFolder(make_folder({"a": 3}))
    with pytest.raises(RequestError, match="no images in folders"):
        IdentityFolder(make_folder({"a": 0, "b": 0}, "empty"))


def test_carved_splits_share_no_identity(make_folder: Make, tmp_path: Path) -> None:
    out = tmp_path / "data"
    reader = IdentityFolder(make_folder(PEOPLE))
    prepare(reader, Embedding.schema, "embedding", SplitRule(val=0.2, test=0.3), out, 64)
    dataset = PreparedDataset(out)
    members = {split: set(dataset.split(split).column("identity")) for split in ("train", "val", "test")}
    assert all(members.values())
    assert sum(map(len, members.values())) == len(set.union(*members.values())) == 12
    assert dataset.info.classes == reader.classes


def test_the_numbers_are_the_same_each_time_and_no_scan_is_in_two_splits() -> None:
    reader, again = (
        DigitIdentities(None, identities=18, images=2),
        DigitIdentities(None, identities=18, images=2),
    )
    records = list(reader)
    assert len(records) == 36
    assert [r.images["image"]() for r in records] == [r.images["image"]() for r in again]
    assert {r.group: r.split for r in records} == {
        reader.classes[r.annotation["identity"]]: r.split for r in records
    }
    splits = [next(r.split for r in records if r.group == name) for name in reader.classes]
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (12, 3, 3)
    scans = {
        split: {scan.tobytes() for digit in by.values() for scan in digit}
        for split, by in reader._scans.items()
    }
    assert scans["train"].isdisjoint(scans["test"])
    assert [r.id for r in DigitIdentities(None, identities=18, images=2, seed=1)] != [r.id for r in records]


def test_the_images_of_a_number_differ_and_show_its_digits() -> None:
    records = list(DigitIdentities(None, identities=12, images=4))
    images = [np.asarray(Image.open(io.BytesIO(r.images["image"]()))) for r in records]
    assert {image.shape for image in images} == {(16, 44)}
    assert len({image.tobytes() for image in images}) == 48
    for image in images:  # ink in each of the three places
        places = image[:, 1:43].astype(int).reshape(16, 3, 14)
        assert (places.max(axis=(0, 2)) - np.median(image) > 40).all()


def test_who_is_in_two_splits_of_the_source_is_said(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder({"train/anna": 2, "train/bert": 2, "test/anna": 2, "test/carl": 2})
    validation = prepare(
        IdentityFolder(folder), Embedding.schema, "embedding", SplitRule(val=0), tmp_path / "data", 64
    )
    (found,) = [str(finding) for finding in validation.findings if "identity" in finding.topic]
    assert found == "identity 'anna': in train and test: it is not new where it is measured"
    assert "\n  identities in two splits: 1" in validation.summary()


def test_the_built_in_numbers_take_no_source(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Remove data.source"):
        DigitIdentities(tmp_path)


def test_who_is_there_once_and_who_has_two_names_is_said(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder({"anna": 3, "bert": 1, "carl": 2})
    (folder / "carl" / "copy.png").write_bytes((folder / "anna" / "000.png").read_bytes())
    validation = prepare(
        IdentityFolder(folder), Embedding.schema, "embedding", SplitRule(val=0, test=0), tmp_path / "data", 64
    )
    said = {str(finding) for finding in validation.findings}
    assert "bert/000.png: the only image of 'bert': there is none to compare it with" in said
    (lone,) = [finding for finding in validation.findings if finding.topic == "identity with one image"]
    assert (lone.file, lone.id, [record.id for record in lone.records]) == (
        "bert/000.png",
        "bert/000.png",
        ["bert/000.png"],
    )
    assert any(
        "copy.png: labelled 'carl', the same bytes as anna/000.png, labelled 'anna'" in text for text in said
    )
    assert len(said) == 2
