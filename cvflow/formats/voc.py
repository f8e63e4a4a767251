"""Pascal VOC's XML, of images with one object each (Everingham et al. 2010, IJCV)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from cvflow.annotations.image import ImageFault, size_of
from cvflow.errors import Fault, RequestError, one_of
from cvflow.formats.reading.split_lists import SPLIT_WORDS, split_lists
from cvflow.formats.reading.trees import Entry, Tree, is_image, open_tree
from cvflow.formats.reading.voc_xml import Annotation, Object, read
from cvflow.formats.record import Confidence, Format, Guess, Record
from cvflow.registry import register
from cvflow.types import Split

IMAGES = ("jpegimages", "images", "image", "imgs", "img")
ANNOTATIONS = ("annotations", "annots", "annotation", "xmls", "xml", "labels")
LISTS = "ImageSets/Main"
Names = Annotated[tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...], Field(min_length=1)]


class Place(NamedTuple):
    """Where images and their annotations lie. split: that the folders give."""

    images: str
    annotations: str
    split: Split | None


class Faulty(str):
    """Why an XML file says nothing of its image that can be used."""

    __slots__ = ()


@register("format", "voc")
class Voc(Format):
    """Ids are the images' paths.

    The source is a folder or zip: JPEGImages/ (images/, ...) and Annotations/ (annots/, ...), or
    the XML beside the images; below train/, val/ and test/ too, or with ImageSets/Main/*.txt as the
    splits.

    An image of no object or of several is passed over, and so is one whose XML is faulty. classes:
    the objects that count; by default all, and the classes are those found.
    """

    gives = frozenset({"label", "box"})
    looks_for = "JPEGImages/ and Annotations/ (or images/ and annots/), an XML file for each image"

    def __init__(self, source: Path | None, *, classes: Names | None = None) -> None:
        self._tree: Tree = open_tree(source, "a folder of images and of Pascal VOC's XML")
        self._places = _places(self._tree)
        if not self._places:
            raise RequestError(
                Fault(
                    str(source), "no images with XML", "JPEGImages/ and Annotations/, or images/ and annots/"
                )
            )
        self._lists = split_lists(self._tree, LISTS)
        self._only = frozenset(classes or ())
        self.classes = classes or tuple(
            sorted({outcome.name for *_, outcome in self._checked() if isinstance(outcome, Object)})
        )
        if not any(isinstance(outcome, Object) for *_, outcome in self._checked()):
            raise self._nothing()

    @classmethod
    def guess(cls, source: Path) -> Guess:
        try:
            tree = open_tree(source, "a folder of images and XML")
        except RequestError:  # neither folder nor whole zip
            return Guess(Confidence.NONE)
        if _places(tree):
            return Guess(Confidence.LIKELY)
        return Guess(Confidence.NONE, near_miss=_near_miss(tree))

    def __iter__(self) -> Iterator[Record]:
        index = {name: i for i, name in enumerate(self.classes)}
        for place, entry, path, outcome in self._checked():
            if isinstance(outcome, Object):
                split = place.split or self._lists.get(_stem(entry))
                annotation = {"label": index[outcome.name], "box": list(outcome.box)}
                line = f"{entry.path} object {outcome.number}"
                yield Record(
                    path,
                    path,
                    {"image": partial(self._image, path, outcome.size)},
                    annotation,
                    split,
                    line=line,
                )

    def skipped(self) -> Iterator[tuple[str, str]]:
        with_xml = set()
        for _, entry, path, outcome in self._checked():
            with_xml.add(path)
            if isinstance(outcome, str):
                yield entry.path, f"{outcome} (id {path})" if isinstance(outcome, Faulty) else outcome
        for place in self._places:
            images = (entry.path for entry in self._tree.entries(place.images) if is_image(entry))
            yield from ((path, "an image without XML") for path in images if path not in with_xml)

    def _checked(self) -> Iterator[tuple[Place, Entry, str, Object | str]]:
        """Each XML file with its image's path and the one object, or why there is none."""
        for place in self._places:
            images = {
                _stem(entry): entry.path for entry in self._tree.entries(place.images) if is_image(entry)
            }
            for entry in self._tree.entries(place.annotations):
                if entry.name.lower().endswith(".xml") and entry.kind == "file":
                    annotation = self._read(entry)
                    named = annotation.filename if isinstance(annotation, Annotation) else ""
                    missing = f"{place.images}/{named or _stem(entry)}".lstrip("/")
                    path = images.get(_stem(entry)) or images.get(named.rpartition(".")[0]) or missing
                    yield place, entry, path, self._object(entry, annotation)

    def _read(self, entry: Entry) -> Annotation | str:
        try:
            return read(self._tree.read(entry.path))
        except OSError as error:
            return f"unreadable file: {error.strerror or error}"

    def _object(self, entry: Entry, annotation: Annotation | str) -> Object | str:
        if self._lists and _stem(entry) not in self._lists:
            return f"in no list of {LISTS}"
        if isinstance(annotation, str):
            return Faulty(annotation)
        objects = [outcome for outcome in annotation.objects if not self._only or outcome.name in self._only]
        if len(objects) != 1:
            return f"{len(objects) or 'no'} object{'' if not objects else 's'}"
        return Faulty(objects[0].fault) if objects[0].fault else objects[0]

    def _image(self, path: str, size: tuple[int, int] | None) -> bytes:
        """size: that the XML gives."""
        data = self._tree.read(path)
        if size and (image_size := size_of(data)) != size:
            raise ImageFault(
                f"an image of {image_size[0]}x{image_size[1]} pixels, annotated as {size[0]}x{size[1]}"
            )
        return data

    def _nothing(self) -> RequestError:
        reasons = Counter(outcome for *_, outcome in self._checked() if isinstance(outcome, str))
        got = "no image with one object: " + ", ".join(
            f"{count} with {why}" for why, count in reasons.most_common(3)
        )
        annotations = (self._read(entry) for _, entry, _, _ in self._checked())
        names = {
            outcome.name
            for annotation in annotations
            if isinstance(annotation, Annotation)
            for outcome in annotation.objects
        }
        fix = (
            f"Count one kind of object alone, with data.format.classes=[<{one_of(names)}>]."
            if len(names) > 1
            else ""
        )
        return RequestError(Fault(str(self._tree.source), got, "images with exactly one object", fix))


def _near_miss(tree: Tree) -> str:
    """Return what is wrong with a tree that has a folder of annotations, or XML files, and is not read."""
    for entry in tree.entries(""):
        if entry.kind == "folder" and entry.name.lower() in ANNOTATIONS:
            if not any(inner.name.lower().endswith(".xml") for inner in tree.entries(entry.path)):
                return f"{entry.name}/ holds no XML files"
            return f"{entry.name}/ holds XML files, and no folder beside it holds their images"
    return ""


def _places(tree: Tree) -> list[Place]:
    folders = [entry.path for entry in tree.entries("") if entry.kind == "folder"]
    splits = [(path, SPLIT_WORDS[path.lower()]) for path in folders if path.lower() in SPLIT_WORDS]
    below = [place for path, split in splits if (place := _place(tree, path, split))]
    unsplit = _place(tree, "", None)
    return below or ([unsplit] if unsplit else [])


def _place(tree: Tree, folder: str, split: Split | None) -> Place | None:
    entries = tree.entries(folder)
    folders = {entry.name.lower(): entry.path for entry in entries if entry.kind == "folder"}
    images = next((folders[name] for name in IMAGES if name in folders), folder)
    annotations = next((folders[name] for name in ANNOTATIONS if name in folders), folder)
    outcome = any(entry.name.lower().endswith(".xml") for entry in tree.entries(annotations))
    return Place(images, annotations, split) if outcome and any(map(is_image, tree.entries(images))) else None


def _stem(entry: Entry) -> str:
    return entry.name.rpartition(".")[0]
