"""What the page is sent holds any text, and no number that is none."""

import json

import pytest
from pydantic import ValidationError

from micrographia.report.wire.records import LabelRecord, SaidRecord, wire_json


def test_any_text_comes_through_as_it_is() -> None:
    said = SaidRecord(token="\ud800 <b>\u202e\x00", logit=0.5)
    sent = wire_json(said)
    assert sent.isascii()
    assert json.loads(sent)["token"] == said.token


def test_a_number_that_is_none_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        wire_json(SaidRecord(token="a", logit=float("nan")))


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        LabelRecord.model_validate({"text": "a", "colour": "red"})
