"""The page as one file: its own script and nothing else, all text inert, the same bytes every time."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from micrographia.graph.build import graph_of
from micrographia.report.page import page, write_page
from tests.graph.graphs import HOSTILE, full_graph, small_graph
from tests.graph.traces import random_trace

MOST_SCRIPT, MOST_COMPRESSED = 250_000, 90_000


class Reader(HTMLParser):
    """What is in a file: its elements, its scripts by what they are, its policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.scripts: dict[str, str] = {}
        self.policy = ""
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.handlers += [name for name in known if name.startswith("on")]
        self.fetched += [known[name] for name in ("src", "href", "action", "data", "srcset") if name in known]
        if tag == "script":
            self._in = known.get("id", "code")
            self.scripts[self._in] = ""
        if tag == "meta" and known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in:
            self.scripts[self._in] += data


def test_the_columns_of_the_file_are_those_of_the_graph() -> None:
    graph = full_graph(0)
    read = Reader(page(graph))
    told = json.loads(read.scripts["graph-document"])
    blob = gzip.decompress(base64.b64decode(read.scripts["graph-columns"]))
    places = {each["name"]: each for each in told["columns"]}
    for name, dtype in (("nodes.activation", "<f8"), ("edges.weight", "<f8"), ("edges.source", "<i4")):
        part, field = name.split(".")
        wanted = getattr(getattr(graph, part), field)
        found = np.frombuffer(blob, dtype, count=len(wanted), offset=places[name]["offset"])
        assert np.array_equal(found, wanted)


def test_only_the_pages_own_script_may_run_and_nothing_is_fetched() -> None:
    read = Reader(page(full_graph(0)))
    digest = base64.b64encode(hashlib.sha256(read.scripts["code"].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in read.policy
    assert read.policy.startswith("default-src 'none'")
    assert sorted(read.scripts) == ["code", "graph-columns", "graph-document", "graph-features"]
    assert read.handlers == []
    assert [link for link in read.fetched if not link.startswith("#")] == []
    assert set(read.tags) & {"iframe", "object", "embed", "link", "base", "form"} == set()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_stay_where_they_are_put(text: str) -> None:
    read, plain = Reader(page(full_graph(0, text))), Reader(page(full_graph(0)))
    assert set(read.tags) == set(plain.tags)
    assert read.scripts["code"] == plain.scripts["code"]
    told = json.loads(read.scripts["graph-document"])
    assert told["prompt"]["text"] == text
    assert told["targets"][0]["name"] == text


def test_without_scripts_there_are_pictures_and_tables() -> None:
    text = page(full_graph(0))
    assert "<svg" in text[text.index("<noscript>") : text.index("</noscript>")]
    large = graph_of(random_trace(0, n_layers=8, per_layer=250, n_positions=8), node_share=1.0, edge_share=1.0)
    assert "needs its own script" in page(large)


def test_the_script_is_small_and_knows_no_address() -> None:
    script = Reader(page(small_graph(0))).scripts["code"]
    assert len(script) <= MOST_SCRIPT
    assert len(gzip.compress(script.encode(), 9)) <= MOST_COMPRESSED
    hosts = set(re.findall(r"https?://[\w./-]+", script))
    assert hosts <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
        "http://www.w3.org/1999/xhtml",
    }


def test_the_same_graph_gives_the_same_bytes_in_a_file_that_is_whole(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        full_graph(4).to_html(tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes() == page(full_graph(4)).encode()
    write_page(full_graph(5), tmp_path / "a.html")
    assert (tmp_path / "a.html").read_bytes() == page(full_graph(5)).encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]
