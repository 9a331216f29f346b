"""Claims put to the test where the truth is known: true ones are confirmed, false ones refuted, and no more is
confirmed by chance than the rate allows. Work that is stopped is not lost."""

from dataclasses import replace

import pytest

from micrographia.bases.neurons import Neurons
from micrographia.errors import CallError, UnsupportedError
from micrographia.evidence.bench import Bench
from micrographia.evidence.claims import claims_of
from micrographia.evidence.evidence import Evidence
from micrographia.evidence.interventions import Free, ablate
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from micrographia.evidence.testing import Experiment
from micrographia.evidence.verdicts import ENOUGH, FEWEST
from micrographia.graph.graph import Graph, Supernode
from micrographia.graph.nodes import NodeId
from tests.evidence.planted import Planted, claiming, planted
from tests.graph.oracle import prompt

LONG = 600.0


def true_and_false(place: Planted, seed: int, n_false: int) -> Graph:
    """All true edges, and as many false ones, each said to be as strong as a true one, either way."""
    edges = {(carrier, None): place.edge(carrier) for carrier in place.carriers}
    edges |= {(place.feeder, carrier): place.edge(place.feeder, carrier) for carrier in place.carriers}
    size = abs(place.edge(place.carriers[0]))
    for number, other in enumerate(place.others(n_false, seed)):
        edges[other, None] = size * (1 if (seed + number) % 2 else -1)
    return claiming(place, edges)


def verdicts(known: Evidence) -> dict[str, str]:
    return {one.claim.name: one.judgement.verdict for one in known.tested}


def test_true_edges_are_confirmed_and_false_ones_refuted(wide) -> None:
    """False: one of the carriers with its sign turned round, and neurons behind which nothing reads."""
    place = next(one for one in (planted(wide, seed) for seed in range(5, 9)) if feeds(one))
    true, turned = place.carriers[:3], place.carriers[3]
    dead = [NodeId.parse(f"1.{index}@2") for index in (5, 6)]
    edges = {(carrier, None): place.edge(carrier) for carrier in true}
    edges |= {(place.feeder, carrier): place.edge(place.feeder, carrier) for carrier in true}
    edges |= {(turned, None): -place.edge(turned), (dead[0], None): 1.0, (dead[1], None): -1.0}
    known = Experiment(place.bench, claiming(place, edges)).run(LONG)
    assert verdicts(known) == {
        **dict.fromkeys(map(str, (*true, place.feeder)), "confirmed"),
        **dict.fromkeys(map(str, (turned, *dead)), "refuted"),
    }
    why = {one.claim.name: one.judgement.why for one in known.tested}
    assert why[str(turned)] == "it moves the other way"
    feeder = next(one for one in known.tested if one.claim.name == str(place.feeder))
    assert feeder.claim.direct == 0.0, "it acts by two hops alone"
    assert known.counts == {"confirmed": 4, "refuted": 3, "untested": 0}
    assert sum(known.shares.values()) == pytest.approx(1.0)
    assert known.shares["untested"] == pytest.approx(0.0)


def feeds(place: Planted) -> bool:
    """Whether the graph says that the feeder does as much as a carrier, however that turns out."""
    claims = {claim.name: abs(claim.total) for claim in claims_of(true_and_false(place, 0, 1))}
    return claims[str(place.feeder)] > claims[str(place.carriers[0])]


def test_every_true_edge_is_confirmed_and_no_more_by_chance_than_the_rate_allows(wide) -> None:
    """Six models, each with as many false claims as true ones."""
    shares = []
    for seed in range(6):
        place = planted(wide, seed)
        known = Experiment(place.bench, true_and_false(place, seed, 5), seed=seed, inside=False).run(LONG)
        true = {str(node) for node in (*place.carriers, place.feeder)}
        found = {name for name, verdict in verdicts(known).items() if verdict == "confirmed"}
        assert true <= found
        shares.append(len(found - true) / len(found))
    assert sum(shares) / len(shares) <= 0.05


def test_a_graph_of_nothing_is_confirmed_as_rarely_as_the_rate_says(wide) -> None:
    """False claims alone: whatever is confirmed is wrong, so it must happen in few graphs at all."""
    wrong = 0
    for seed in range(8):
        place = planted(wide, seed)
        others = place.others(12, seed)
        edges = {(other, None): 1.0 if number % 2 else -1.0 for number, other in enumerate(others)}
        wrong += Experiment(place.bench, claiming(place, edges), seed=seed).run(LONG).counts["confirmed"] > 0
    assert wrong <= 1


def test_the_family_is_the_strongest_claims_and_is_chosen_before(tiny) -> None:
    place = planted(tiny("llama"), 0)
    graph = true_and_false(place, 0, 3)
    first = Experiment(place.bench, graph, family=2, inside=False).run(LONG)
    names = [claim.name for claim in first.claims]
    assert set(first.measured) == set(names[:2])
    assert [one.judgement.why for one in first.tested[2:]] == ["not among the 2 strongest, which are tested"] * 6
    assert len(first.tried) == 2
    more = Experiment(place.bench, graph, known=first, family=5, inside=False).run(LONG)
    assert (more.family, set(more.measured)) == (5, set(names[:5]))
    assert Experiment(place.bench, graph, known=more).evidence.family == 5
    with pytest.raises(CallError, match=r"The 5 strongest claims were chosen .* Ask for 5 or more, or begin anew\."):
        Experiment(place.bench, graph, known=more, family=4)


def test_a_group_is_one_claim_and_its_effect_is_that_of_all_its_members_gone(tiny) -> None:
    place_ = planted(tiny("llama"), 1)
    graph = claiming(
        place_,
        {(carrier, None): place_.edge(carrier) for carrier in place_.carriers},
        [Supernode("carriers", tuple(place_.carriers), "planted")],
    )
    known = Experiment(place_.bench, graph).run(LONG)
    [one] = known.tested
    assert (one.claim.name, one.judgement.verdict) == ("carriers", "confirmed")
    logits = run_rows(place_.bench, [place(place_.bench, ablate(place_.carriers), Free())], Free()).logits[0]
    clean = place_.bench.logits()[-1]
    effect = (logits[5] - logits.mean()) - (clean[5] - clean.mean())
    assert one.measured.effect == pytest.approx(float(effect), abs=1e-10)
    assert one.measured.probability == pytest.approx(float(logits.softmax(-1)[5]), abs=1e-10)
    assert known.agreement() is None, "one claim says nothing about agreement"


def test_a_claim_is_settled_when_enough_controls_do_as_much(tiny) -> None:
    place = planted(tiny("llama"), 0)
    known = Experiment(place.bench, true_and_false(place, 0, 3)).run(LONG)
    assert known.inside
    for one in (*known.tested, *known.inside):
        reached = [
            one.claim.sign * control >= one.claim.sign * one.measured.effect for control in one.measured.controls
        ]
        settled = sum(reached) >= ENOUGH
        assert len(reached) >= FEWEST
        assert settled or len(reached) >= 99
        assert sum(reached[:-FEWEST]) < ENOUGH or len(reached) == FEWEST, "none is run for nothing"


# ---------------------------------------------------------------- stopping and going on


def stopped_after(place: Planted, graph: Graph, n: int) -> Evidence:
    """Ctrl-C after so many batches of controls."""
    kept: list[Evidence] = []

    def keep(known: Evidence) -> None:
        kept.append(known)
        if len(kept) == n:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Experiment(place.bench, graph).run(LONG, keep=keep)
    return kept[-1]


def test_work_that_was_stopped_is_gone_on_with_and_ends_with_the_same_numbers(tiny) -> None:
    place = planted(tiny("llama"), 2)
    graph = true_and_false(place, 2, 2)
    whole = Experiment(place.bench, graph).run(LONG)
    for n in (1, 3, 6):
        part = stopped_after(place, graph, n)
        assert 0 < len(part.measured) < len(whole.measured)
        resumed = Experiment(place.bench, graph, known=part).run(LONG)
        assert verdicts(resumed) == verdicts(whole)
        for name, one in whole.measured.items():
            assert resumed.measured[name].controls == pytest.approx(one.controls, abs=1e-12)


def test_the_strongest_claims_come_first_and_time_is_kept(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    place = planted(tiny("llama"), 0)
    now = iter(float(i) for i in range(1000))
    monkeypatch.setattr("micrographia.evidence.testing.time.perf_counter", lambda: next(now))
    known = Experiment(place.bench, true_and_false(place, 0, 3), inside=False).run(24.0)
    names = [claim.name for claim in known.claims]
    assert 0 < len(known.measured) < len(names)
    assert set(known.measured) == set(names[: len(known.measured)])
    assert [abs(claim.total) for claim in known.claims] == sorted((abs(c.total) for c in known.claims), reverse=True)


# ---------------------------------------------------------------- what is refused


def test_a_budget_too_small_for_one_test_is_refused(tiny) -> None:
    place = planted(tiny("llama"), 0)
    experiment = Experiment(place.bench, true_and_false(place, 0, 1))
    with pytest.raises(CallError, match=r"A budget of 1e-09 s is too small for one claim and its 20 controls, .* give"):
        experiment.run(1e-9)
    assert experiment.evidence.measured == {}


def test_a_graph_of_another_model_basis_or_prompt_is_refused(tiny) -> None:
    place = planted(tiny("llama"), 0)
    graph = true_and_false(place, 0, 1)
    other = planted(tiny("llama"), 1).bench
    with pytest.raises(CallError, match="traced in planted with other weights"):
        Experiment(other, graph)
    gates = Bench(place.bench.model, Neurons("frozen-gate"), place.bench.prompt)
    with pytest.raises(CallError, match="another basis"):
        Experiment(gates, graph)
    longer = Bench(place.bench.model, Neurons(), prompt(place.bench.model, 6))
    with pytest.raises(CallError, match="another prompt"):
        Experiment(longer, graph)
    with pytest.raises(UnsupportedError, match="does not say which model"):
        Experiment(place.bench, replace(graph, facts=None))


def test_a_graph_without_features_has_no_claim(tiny) -> None:
    place = planted(tiny("llama"), 0)
    bare = true_and_false(place, 0, 1).subgraph([])
    with pytest.raises(CallError, match="no claim to test"):
        Experiment(place.bench, bare)
