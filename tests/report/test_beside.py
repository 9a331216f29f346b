"""A graph that was traced with an atlas at hand brings what that knows into each of its pages."""

import base64
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import CallError
from micrographia.graph.files import load_graph
from micrographia.graph.graph import Graph
from micrographia.labels.beside import labels_place
from micrographia.labels.store import LabelBook
from micrographia.microscope import Microscope
from micrographia.model.model import Model
from micrographia.report.notebook import Shown
from micrographia.report.page import page
from micrographia.report.wire.features import features_of
from micrographia.report.wire.labels import labels_of
from tests.report.test_page import Reader

PROMPT = "t3 t5 t7 t9"


@pytest.fixture
def scope(llama: Model, basis: PerLayer, atlas: Atlas) -> Microscope:
    """A microscope with an atlas beside its basis."""
    found = Microscope(llama, basis)
    found._atlas = atlas
    return found


@contextmanager
def named(atlas: Atlas, graph: Graph) -> Iterator[LabelBook]:
    with LabelBook.create(labels_place(atlas.folder)) as book:
        book.say(int(graph.nodes.layer[0]), int(graph.nodes.index[0]), "a word")
        yield book


def test_all_three_doors_lead_to_the_same_page_with_features_and_labels(
    scope: Microscope, atlas: Atlas, tmp_path: Path
) -> None:
    graph = scope.trace(PROMPT, max_nodes=24)
    with named(atlas, graph) as book:
        features = features_of(graph, atlas, scope.model.tokenizer.piece)
        wanted = page(replace(graph, beside=None), labels=labels_of(graph, book), features=features)
    assert features
    assert page(graph) == wanted
    graph.to_html(tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == wanted
    shown = graph.view()
    assert isinstance(shown, Shown)
    assert "a word" in json.loads(Reader(wanted).scripts["graph-document"])["labels"][str(graph.nodes.id(0))]["text"]
    inside = gzip.decompress(base64.b64decode(Reader(wanted).scripts["graph-features"]))
    assert json.loads(inside)["features"].keys() == features.keys()
    assert page(replace(graph, beside=None)) != wanted


def test_a_graph_from_a_file_is_recognised_and_one_of_another_basis_is_not(scope: Microscope, tmp_path: Path) -> None:
    graph = scope.trace(PROMPT, max_nodes=24)
    graph.save(tmp_path / "x")
    read = load_graph(tmp_path / "x")
    assert read.beside is None
    assert page(scope.recognise(read)) == page(graph)
    with pytest.raises(CallError, match="another basis"):
        Microscope(scope.model, "neurons").recognise(read)
