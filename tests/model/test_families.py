"""The table of families: rows that do not contradict each other, and an answer for what is not in it."""

import re

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from micrographia.errors import UnsupportedError
from micrographia.model.families import FAMILIES, family_of
from tests.model.families import TINY


def test_names_and_model_types_are_each_used_once() -> None:
    names = [family.name for family in FAMILIES]
    types = [kind for family in FAMILIES for kind in family.model_types]
    assert len(set(names)) == len(names) == 10
    assert len(set(types)) == len(types)


def test_every_model_type_leads_to_its_row_and_is_one_that_transformers_knows() -> None:
    for family in FAMILIES:
        for kind in family.model_types:
            assert family_of(kind) is family
            assert type(AutoConfig.for_model(kind)) in AutoModelForCausalLM._model_mapping


def test_every_row_is_held_to_hugging_faces_by_a_tiny_model() -> None:
    tested = {model_type for model_type, _ in TINY.values()}
    assert [family.name for family in FAMILIES if not tested & set(family.model_types)] == []


@pytest.mark.parametrize("kind", ["bert", "mamba", "LLAMA", "", "gemma3"])
def test_what_is_not_in_the_table_is_answered_with_the_table(kind: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        family_of(kind)
    said = str(caught.value)
    assert said.startswith(f"Models of type {kind!r} cannot be read yet.")
    for family in FAMILIES:
        assert f"{family.model_types[0]} ({family.covers})" in said
    assert re.search(r"one row in micrographia/model/families\.py and one line in tests/model/families\.py", said)
