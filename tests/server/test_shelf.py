"""What is found beneath a folder, what ids are, and how groups are kept with the evidence that still holds."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from micrographia.errors import CallError, WorkError
from micrographia.evidence.claims import claims_of
from micrographia.evidence.evidence import Evidence, Measured
from micrographia.evidence.files import load_evidence, save_evidence
from micrographia.graph.exchange import graph_json
from micrographia.graph.files import load_graph
from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.nodes import Kind
from micrographia.report.wire.live import GroupRequest
from micrographia.server.jobs import NotHereError
from micrographia.server.shelf import Shelf
from tests.graph.graphs import full_graph, same, small_graph
from tests.server.shelves import PROMPT, SECOND, small_trace


def by_name(shelf: Shelf) -> dict[str, str]:
    return {row.name: row.id for row in shelf.list().graphs}


def test_graphs_are_found_at_every_depth_and_nothing_else_is(shelf_folder: Path) -> None:
    rows = {row.name: row for row in Shelf(shelf_folder).list().graphs}
    assert set(rows) == {"first", "more/second", "foreign.json", "notes.json"}
    assert rows["first"].prompt == PROMPT
    assert rows["more/second"].prompt == SECOND
    assert rows["first"].kept
    assert not rows["foreign.json"].kept
    graph = load_graph(shelf_folder / "first")
    assert (rows["first"].n_nodes, rows["first"].n_edges) == (len(graph.nodes), len(graph.edges))
    assert rows["first"].targets == tuple(target.name for target in graph.targets)
    assert rows["first"].evidence is None


def test_what_cannot_be_read_is_listed_with_the_reason(shelf_folder: Path) -> None:
    (shelf_folder / "first" / "tables.safetensors").write_bytes(b"gone")
    rows = {row.name: row for row in Shelf(shelf_folder).list().graphs}
    assert "damaged" in (rows["first"].error or "")
    assert rows["notes.json"].error is not None
    assert rows["more/second"].error is None
    with pytest.raises(WorkError, match="damaged"):
        Shelf(shelf_folder).graph(rows["first"].id)


def test_links_are_not_followed_and_deep_folders_are_counted(shelf_folder: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    small_graph().save(elsewhere / "secret")
    os.symlink(elsewhere, shelf_folder / "link")
    deep = shelf_folder / "1/2/3/4/5/6"
    deep.mkdir(parents=True)
    small_graph().save(deep / "far")
    found = Shelf(shelf_folder).list()
    assert {row.name for row in found.graphs} == {"first", "more/second", "foreign.json", "notes.json"}
    assert found.passed_over == 1


def test_an_id_stays_and_is_looked_up_never_joined(shelf_folder: Path) -> None:
    ids = by_name(Shelf(shelf_folder))
    assert ids == by_name(Shelf(shelf_folder)), "another server of the same folder knows the same ids"
    shelf = Shelf(shelf_folder)
    for name in ("first", "../first", str(shelf_folder / "first"), "..", ".", "", "%2e%2e", "first\x00", *"/\\"):
        with pytest.raises(NotHereError, match="no such graph"):
            shelf.graph(name)
    assert same(shelf.graph(ids["first"]), load_graph(shelf_folder / "first"))


def test_a_graph_alone_is_shown_alone_and_new_ones_beside_it(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder / "first")
    assert set(by_name(shelf)) == {"first"}
    assert shelf.folder == shelf_folder
    shelf.add(small_graph())
    assert len(by_name(shelf)) == 2
    assert set(by_name(Shelf(shelf_folder / "foreign.json"))) == {"foreign.json"}


@pytest.mark.parametrize("name", ["missing", "empty/none", "other.json", "notes.json"])
def test_what_is_no_graph_is_refused(shelf_folder: Path, name: str) -> None:
    with pytest.raises((CallError, WorkError)):
        Shelf(shelf_folder / name)


def test_new_graphs_get_names_after_their_prompts_and_never_an_old_one(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder)
    graph = full_graph(text="../../The <b>Capital</b>!\0 of France" + " x" * 200)
    ids = [shelf.add(graph), shelf.add(graph), shelf.add(full_graph(text="日本"))]
    names = {row.id: row.name for row in shelf.list().graphs}
    first = names[ids[0]]
    assert first.startswith("the-b-capital-b-of-france-x")
    assert len(first) <= 48
    assert [names[one] for one in ids[1:]] == [f"{first}-2", "graph"]
    assert same(shelf.graph(ids[0]), graph)


def test_another_tools_graph_is_kept_as_it_came(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder)
    content = graph_json(small_graph(3))
    del content["metadata"]["micrographia"]
    name = shelf.take(json.loads(json.dumps(content)))
    assert graph_json(shelf.graph(name)) == content
    for nonsense in ([], {}, {"metadata": {}}, None, "x"):
        with pytest.raises(CallError):
            shelf.take(nonsense)


def test_a_graph_that_changes_on_disk_is_read_anew(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder)
    name = by_name(shelf)["first"]
    before = shelf.graph(name)
    assert shelf.graph(name) is before
    groups = [GroupRequest(name="mine", members=(str(before.nodes.id(0)),))]
    Shelf(shelf_folder).regroup(name, groups)
    assert [group.name for group in shelf.graph(name).supernodes] == ["mine"]


# ---------------------------------------------------------------- groups


def features(graph: Graph) -> list[str]:
    n = graph.nodes
    inside = (n.kind == Kind.FEATURE) & (n.position >= graph.prompt.prepended)
    return [str(n.id(int(i))) for i in np.flatnonzero(inside)]


def measured(folder: Path, name: str, groups: tuple[Supernode, ...]) -> Evidence:
    """Pretend that every claim was measured."""
    graph = load_graph(folder / name)
    claims = claims_of(graph.grouped(groups))
    found = {claim.name: Measured(float(i), 0.5, (0.0,) * 20, 1.0) for i, claim in enumerate(claims)}
    evidence = Evidence(claims[0].target, "t", 0.0, 0.5, claims, found)
    save_evidence(evidence, folder / name)
    return evidence


def test_groups_are_kept_and_said_to_be_a_persons(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder)
    name = by_name(shelf)["first"]
    one, two = features(shelf.graph(name))[:2]
    tables = (shelf_folder / "first" / "tables.safetensors").read_bytes()
    shelf.regroup(name, [GroupRequest(name="<b>pair</b>", members=(one, two), reason="why")])
    [kept] = load_graph(shelf_folder / "first").supernodes
    assert (kept.name, list(map(str, kept.members)), kept.reason, kept.by) == ("<b>pair</b>", [one, two], "why", "user")
    assert (shelf_folder / "first" / "tables.safetensors").read_bytes() == tables
    shelf.regroup(name, [])
    assert load_graph(shelf_folder / "first").supernodes == ()


def test_what_a_machine_grouped_stays_its_own(shelf_folder: Path, looking) -> None:
    shelf = Shelf(shelf_folder)
    graph = small_trace(looking)
    one, two, three = (graph.nodes.find(name) for name in features(graph)[:3])
    by_rule = Supernode("both", (graph.nodes.id(one), graph.nodes.id(two)), "they promote the same")
    name = shelf.add(graph.grouped([by_rule]))
    asked = GroupRequest(name="both", members=tuple(map(str, by_rule.members)), reason=by_rule.reason)
    other = GroupRequest(name="one", members=(str(graph.nodes.id(three)),))
    assert [g.by for g in shelf.regroup(name, [asked, other]).graph.supernodes] == ["micrographia", "user"]
    assert [g.by for g in shelf.regroup(name, [asked.model_copy(update={"name": "else"})]).graph.supernodes] == ["user"]


@pytest.mark.parametrize("members", [("token@99",), ("nonsense",), ("../x",)])
def test_groups_of_what_is_not_there_are_refused_and_nothing_is_written(shelf_folder: Path, members) -> None:
    shelf = Shelf(shelf_folder)
    name = by_name(shelf)["first"]
    before = (shelf_folder / "first" / "manifest.json").read_bytes()
    with pytest.raises(CallError):
        shelf.regroup(name, [GroupRequest(name="x", members=members)])
    assert (shelf_folder / "first" / "manifest.json").read_bytes() == before


def test_another_tools_file_is_not_written_to(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder)
    with pytest.raises(CallError, match="micrographia convert"):
        shelf.regroup(by_name(shelf)["foreign.json"], [])


def test_evidence_stays_with_claims_that_are_still_made(shelf_folder: Path) -> None:
    """A group that is renamed keeps its own; one that is dissolved loses it, and its name is given."""
    shelf = Shelf(shelf_folder)
    name = by_name(shelf)["first"]
    shelf.regroup(name, [])
    one, two, three, four = features(shelf.graph(name))[:4]
    pair, other = GroupRequest(name="pair", members=(one, two)), GroupRequest(name="other", members=(three, four))
    shelf.regroup(name, [pair, other])
    before = measured(shelf_folder, "first", load_graph(shelf_folder / "first").supernodes)
    changed = shelf.regroup(name, [GroupRequest(name="renamed", members=(one, two))])
    assert changed.forgotten == ("other",)
    after = load_evidence(changed.graph, shelf_folder / "first")
    assert after is not None
    assert after.measured["renamed"] == before.measured["pair"]
    assert {three, four} & set(after.measured) == set()
    untouched = {claim.name for claim in before.claims} - {"pair", "other"}
    assert {key: after.measured[key] for key in untouched} == {key: before.measured[key] for key in untouched}
    rows = {row.id: row for row in shelf.list().graphs}
    assert rows[name].evidence is not None
    assert replace(after, seed=0).claims == claims_of(changed.graph)
