"""The facts of a basis come back as they were written, and nothing else is let in."""

import pytest
from pydantic import ValidationError

from micrographia.bases.formats.facts import BasisFacts
from micrographia.model.site import Point


def test_facts_come_back_from_json() -> None:
    facts = BasisFacts(
        input_site=Point.RESID_MID,
        bos="prepended",
        bos_token=0,
        model="a/model",
        training={"lr": 0.1, "steps": [1, 2]},
        foreign={"saelens": {"0": {"x": None}}},
    )
    assert BasisFacts.model_validate_json(facts.model_dump_json()) == facts


@pytest.mark.parametrize(
    "said", [{"colour": "red"}, {"input_site": "ear"}, {"bos": "maybe"}, {"bias_subtracted_from_input": True}]
)
def test_what_is_not_understood_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BasisFacts.model_validate(said)
