import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.corpus.formats import articles, conversations, joined_up
from micrographia.errors import WorkError


@pytest.mark.parametrize(
    ("spaced", "written"),
    [
        (" a tactical role @-@ playing game , ( 2011 ) . ", "a tactical role-playing game, (2011)."),
        ('Calamaty " Raven " , 1 @,@ 500 men', 'Calamaty "Raven", 1,500 men'),
        ("The game 's theme did n't sell 2 @.@ 5 % ; why ?", "The game's theme didn't sell 2.5%; why?"),
        ("they 're $ 5 [ sic ]", "they're $5 [sic]"),
        (" = = = Plot and story = = = ", "\nPlot and story\n"),
        ("x = y = z", "x = y = z"),
    ],
)
def test_spaced_out_text_is_joined_up(spaced: str, written: str) -> None:
    assert joined_up(spaced) == written


def test_articles_begin_at_their_titles() -> None:
    text = " \n = One = \n \n First . \n = = Part = = \n Second . \n = Two ( film ) = \n Third , too . \n"
    assert list(articles([text[:20], text[20:]])) == [
        ("One", "One\n\nFirst.\n\nPart\n\nSecond."),
        ("Two (film)", "Two (film)\n\nThird, too."),
    ]


def as_chitchat(talks: dict[str, list[list[str]]]) -> str:
    return json.dumps(
        {
            name: {
                "messages": [[{"text": text, "sender": "x"} for text in turn] for turn in turns],
                "ratings": {"a": 1},
            }
            for name, turns in talks.items()
        }
    )


def test_a_conversation_has_a_line_per_message_and_a_gap_between_turns() -> None:
    text = as_chitchat({"c1": [["Hello", "How are you? "], [], ["fine"]], "c2": [['Hi \u2014 "you"']]})
    assert list(conversations([text], "x")) == [("c1", "Hello\nHow are you?\n\nfine"), ("c2", 'Hi \u2014 "you"')]


@given(
    talks=st.dictionaries(st.text('ab"{}', min_size=1), st.lists(st.lists(st.text('a}"\\: ', max_size=9)), max_size=3)),
    block=st.integers(1, 30),
    indent=st.booleans(),
)
def test_an_object_is_read_the_same_in_blocks(talks: dict[str, list[list[str]]], block: int, indent: bool) -> None:
    text = json.dumps(json.loads(as_chitchat(talks)), indent=2 if indent else None)
    found = list(conversations((text[i : i + block] for i in range(0, len(text), block)), "x"))
    assert [name for name, _ in found] == list(talks)
    assert found == list(conversations([text], "x"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", r"x is not one JSON object: '\[' stands where '{' should"),
        ('{"a" 1}', "'1' stands where ':' should"),
        ('{"a": {"messages": []} "b"', "stands where ',' should"),
        ('{"a": {"messages": [', "it ends too early, or a value in it is broken"),
        ("", "it ends too early"),
        ('{"a": {"text": "b"}}', "the conversation 'a' has no list of messages"),
    ],
)
def test_what_is_no_object_of_conversations_is_refused(text: str, said: str) -> None:
    with pytest.raises(WorkError, match=said):
        list(conversations([text], "x"))
