"""Every format is one, and what a person says goes over what a file says."""

import pytest

from micrographia.bases.formats.convert import FORMATS
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.format import FACTS, Format, Hints, facts_in, facts_out
from micrographia.errors import ModelFileError
from micrographia.model.site import Point


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_every_format_is_one(each: Format) -> None:
    assert isinstance(each, Format)


def test_what_a_person_says_goes_over_what_files_say() -> None:
    facts = BasisFacts(input_site=Point.MLP_IN, input_norm="before-gain", model="a")
    said = Hints(input_site=Point.RESID_MID, model="b").over(facts)
    assert (said.input_site, said.input_norm, said.model) == (Point.RESID_MID, "as-read", "b")
    assert Hints().over(facts) == facts


def test_facts_travel_in_other_settings_without_what_the_tool_itself_wrote() -> None:
    facts = BasisFacts(dataset="d", foreign={"a": {"x": 1}, "b": {"y": 2}})
    back = facts_in({FACTS: facts_out(facts, "a")}, "there")
    assert back == facts.model_copy(update={"foreign": {"b": {"y": 2}}})
    with pytest.raises(ModelFileError, match=r"there has a part 'micrographia' that cannot be understood \(colour"):
        facts_in({FACTS: {"colour": "red"}}, "there")
