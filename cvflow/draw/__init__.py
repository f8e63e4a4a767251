"""A self-contained HTML page made of blocks that know no task."""

from cvflow.draw.blocks import Block, Facts, Numbers, Table, Text, block_of
from cvflow.draw.curves import Curves
from cvflow.draw.images import Gallery, Item, thumbnail
from cvflow.draw.matrix import Matrix
from cvflow.draw.page import Section, page

__all__ = ["Block", "Curves", "Facts", "Gallery", "Item", "Matrix", "Numbers", "Section", "Table", "Text", "block_of", "page", "thumbnail"]
