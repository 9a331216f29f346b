"""A card is a file: what it does not know it refuses."""

import pytest
from pydantic import ValidationError

from micrographia.bases.evaluation.card import Card, EvaluationConfig, RoundingLoss


def test_unknown_keys_and_versions_are_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        RoundingLoss.model_validate({"overall": 0, "worst": 0, "where": "x", "mood": 1})
    with pytest.raises(ValidationError, match="schema_version"):
        Card.model_validate({"schema_version": 2})


def test_a_choice_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValidationError):
        EvaluationConfig(tokens=0)
    with pytest.raises(ValidationError):
        EvaluationConfig(passage=2)
