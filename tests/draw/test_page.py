"""The whole page: self-contained, escaped, balanced, the same every time."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cvflow.draw import (
    Curves,
    Facts,
    Gallery,
    Item,
    Link,
    Matrix,
    Numbers,
    Reliability,
    Section,
    Shares,
    Short,
    Strips,
    Table,
    Text,
    block_of,
    page,
)

NASTY = '<script>alert("x")</script>'
VOID = {"meta", "img", "br", "link", "input"}


class Balance(HTMLParser):
    """Collects start tags and text, and fails where an element is closed out of order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(html):
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def blocks(word="cat"):
    """One of each block, with ``word`` wherever text may stand."""
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    return [
        Numbers({word: 0.5, "images": 61706, "none": None, "said": word}),
        Table([word, "n"], [[word, 1], [Short("b", word), None]], title=word),
        Curves(word, {word: [(1, 0.5), (2, 0.7)], "b": []}, x_label=word, y_label=word, best={word: "max"}),
        Matrix([word, "b"], [[3, 1], [0, 9]], title=word),
        Gallery([Item(image, word, "good", word), Item(image, word, "bad")], title=word),
        Facts({word: word, "hash": "0123456789abcdef"}),
        Text(word),
        Strips([word, "epoch 1"], [(word, [image, image])], title=word),
        Shares({word: 3.0, "b": 1.0}, title=word, unit=word),
        Reliability([(0, None, None), (4, 0.75, 0.5)], 0.25, title=word),
    ]


def whole(word="cat"):
    return page(word, [Section(word, blocks(word), word), Section("Again", blocks(word))], subtitle=word)


def test_every_block_renders_balanced_html():
    parser = parsed(whole())
    kinds = [
        attrs["class"].split()[1]
        for tag, attrs in parser.seen
        if tag == "div" and attrs.get("class", "").startswith("block ")
    ]
    assert kinds == [block.kind for block in blocks()] * 2
    assert "61\u2009706" in parser.text


def test_all_text_is_escaped():
    html = whole(NASTY)
    assert "<script" not in html
    parser = parsed(html)
    assert not [tag for tag, _ in parser.seen if tag == "script"]
    shown = "".join(parser.text)
    assert shown.count("<script>") >= 15
    attributes = [value for _, attrs in parser.seen for value in attrs.values() if value and "alert" in value]
    assert NASTY in attributes
    assert not any('"' in value.replace(NASTY, "") for value in attributes), (
        "quotes in attributes must not end them"
    )


def test_the_same_input_gives_the_same_text():
    assert whole() == whole()


def test_nothing_is_fetched():
    html = whole()
    assert not re.search(r"(https?:)?//\w", re.sub(r"base64,[\w+/=]+", "", html))
    assert "@import" not in html
    for tag, attrs in parsed(html).seen:
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:image/")), (tag, attrs)


def test_contents_lead_to_each_section_and_are_left_out_for_one():
    parser = parsed(whole())
    ids = {attrs.get("id") for tag, attrs in parser.seen if tag == "section"}
    assert {attrs["href"] for tag, attrs in parser.seen if tag == "a"} == {f"#{i}" for i in ids}
    assert "<nav" not in page("t", [Section("Only", [])])


def test_a_page_of_nothing():
    assert "t" in parsed(page("t", [])).text


def test_long_words_are_code():
    code = Facts({"a": "0123456789abcdef0123", "b": "digits, version 3 of it", "c": 7})
    assert [is_code for _, _, is_code, _ in code.lines] == [True, False, False]
    assert "<code>0123456789abcdef0123</code>" in page("t", [Section("s", [code])])


def test_numbers_are_set_to_the_right_and_text_is_not():
    table = Table(["name", "p", "n"], [["a", 0.25, 1200], ["b", None, 3]])
    assert table.numeric == [False, True, True]
    assert [[cell.text for cell in row] for row in table.cells] == [
        ["a", "0.250", "1\u2009200"],
        ["b", "\u2013", "3"],
    ]


def test_rows_are_sorted_with_gaps_last():
    table = Table(["name", "p"], [["a", 0.5], ["b", None], ["c", 0.25], ["d", 0.25]], order="p")
    assert [row[0].text for row in table.cells] == ["c", "d", "a", "b"]


def test_bars_are_of_one_or_of_the_greatest():
    table = Table(["p", "n"], [[0.25, 5], [None, 20], [0.5, 0]], bars=["p", "n"])
    assert [[cell.bar for cell in row] for row in table.cells] == [[25, 25], [None, 100], [50, 0]]
    assert "--w:25.0%" in page("t", [Section("s", [table])])
    assert "<i" not in page("t", [Section("s", [Table(["p"], [[0.5]])])])


def test_a_long_table_is_cut_and_says_so():
    table = Table(["name", "n"], [[f"class {i}", i] for i in range(1000)], order="n")
    html = page("t", [Section("s", [table])])
    assert "class 299<" in html
    assert "class 300<" not in html
    assert "The first 300 of 1\u2009000 rows." in html


def test_a_link_leads_to_a_file_beside_the_page():
    html = page("t", [Section("s", [Facts({"checked": Link("validation", "data.html")})])])
    assert '<a class="to" href="data.html">validation</a>' in html


def test_a_short_row_is_refused():
    with pytest.raises(ValueError, match="row of 1 cells, expected 2"):
        Table(["a", "b"], [["x"]])
    with pytest.raises(ValueError, match=r"\['c'\], expected columns of the table"):
        Table(["a", "b"], [], order="a", bars=["c"])


def test_blocks_from_plain_data():
    matrix = block_of({"figure": "matrix", "classes": ["a", "b"], "values": [[1, 0], [0, 1]]}, "Confusion")
    assert matrix == Matrix(["a", "b"], [[1, 0], [0, 1]], "Confusion")
    assert block_of({"figure": "numbers", "values": {"a": 1}}, "unused") == Numbers({"a": 1})
    assert block_of({"figure": "table", "columns": ["a"], "rows": [], "title": "own"}, "other").title == "own"
