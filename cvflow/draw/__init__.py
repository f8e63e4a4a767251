"""A self-contained HTML page, made of blocks that know no task."""

from cvflow.draw.blocks import Block, Facts, Link, Numbers, Text, block_of
from cvflow.draw.curves import Curves
from cvflow.draw.images import Gallery, Item, Lineups, Strips, thumbnail
from cvflow.draw.matrix import Matrix
from cvflow.draw.page import Section, page
from cvflow.draw.reliability import Reliability
from cvflow.draw.shares import Shares
from cvflow.draw.table import Short, Table

__all__ = [
    "Block",
    "Curves",
    "Facts",
    "Gallery",
    "Item",
    "Lineups",
    "Link",
    "Matrix",
    "Numbers",
    "Reliability",
    "Section",
    "Shares",
    "Short",
    "Strips",
    "Table",
    "Text",
    "block_of",
    "page",
    "thumbnail",
]
