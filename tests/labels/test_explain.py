"""Everything that a name rests on is said in words, and what was not measured is not."""

from dataclasses import replace

from micrographia.ids import Layer
from micrographia.labels.explain import explained
from micrographia.labels.label import Edits, Effect, Evidence, Label, Said, Share, Window
from tests.labels.made import PROVENANCE, held, label

WHOLE = Evidence(
    density=0.01,
    examples=30,
    shares=(Share(offset=-1, name="", token=7, share=0.5, corpus=0.001, odds=4.0, entropy=2.0, p=0.0005),),
    said=Said(
        tokens=(5, 6), concentration=0.3, p_concentration=0.003, next=0.2, next_elsewhere=0.01, p_next=0.005,
        argmax=0.3, argmax_elsewhere=0.02, p_argmax=0.005,
    ),
    effect=Effect(n=1, ablated=-0.4, boosted=0.3, random=0.1, auc=0.99, p=0.003),
    rule="-1=7 & 0={a digit}",
    strong=True,
    held=held(),
    edits=Edits(n=4, named=0.1, other=0.9),
    windows=(Window(name="input", embedder="MiniLM", n=10, cosine=0.5, null=0.3, p=0.005),),
    withdrawn="another name",
)  # fmt: skip


def said(one: Label) -> str:
    return "\n".join(explained(one, lambda token: f"t{token}"))


def test_all_evidence_is_said() -> None:
    text = said(replace(label(3, 4, "a digit after t7"), evidence=WHOLE, provenance=PROVENANCE))
    for part in (
        "3/4  input: a digit after t7",
        "Score 0.90 (0.80 to 1.00)",
        "shuffled labels 0.50, random directions 0.55, the commonest token of its strongest places 0.60",
        "t7 1 before, and a digit on it (its strongest three tenths)",
        "at 80% of 40 places",
        "at 70% (of all places, at 1.00%)",
        "hardly a random direction exceeds 0.70",
        "weakest first: – 50%",
        "Against places where it is off, on the same tokens 0.60, on those nearest to them in the embedding 0.80.",
        "Minimal pairs at 4 places: 10% of the activation remains",
        "Promotes: t5 t6",
        "by -0.400 when it is taken out, by +0.300 when it is doubled (1 place)",
        "1 before         t7 at 50%, 0.10% of all (p 0.0005; entropy 2.0 bits)",
        "by all-MiniLM-L6-v2",
        "0.50; 19 in 20 sets of 10 random places are below 0.30",
        "Withdrawn: another name",
        "Made with rules, version 1",
    ):
        assert part in text, part


def test_a_name_about_where_a_place_stands_is_said_as_it_was_tried() -> None:
    share = Share(offset=0, name="the first token of a line", token=None, share=0.8, corpus=0.06, odds=4.0, entropy=1.0,
                  p=0.0005)  # fmt: skip
    evidence = WHOLE.model_copy(update={"rule": "1-1 of line", "strong": False, "shares": (share,)})
    text = said(replace(label(3, 4, "the first token of a line"), evidence=evidence))
    assert "Rule: the first token of a line\n" in text
    assert "10% of the activation remains when the place is moved, 90% when another token near by is replaced" in text
    assert "on it            the first token of a line at 80%, 6.00% of all" in text


def test_what_was_not_measured_is_not_said() -> None:
    text = said(Label(Layer(1), 2, "dead", None, "rule", "It was never active.", evidence=Evidence(density=0.0)))
    assert text.splitlines() == ["1/2  dead: no label", "It was never active."]
    text = said(Label(Layer(1), 2, None, "mine", "person", "A person's own label."))
    assert text.splitlines() == ["1/2  not examined: mine", "A person's own label."]


def test_evidence_that_did_not_come_along_is_said_to_be_missing() -> None:
    slim = replace(label(3, 4, None, "obscure"), score=None, evidence=Evidence(density=0.01, withdrawn="years"))
    assert "micrographia label --layers 3" in said(slim)
    assert "Withdrawn: years" in said(slim)
    assert "micrographia label --layers" not in said(replace(slim, evidence=WHOLE))
