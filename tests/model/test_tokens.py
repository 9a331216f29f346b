import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from micrographia.errors import ModelFileError, PromptError
from micrographia.model.checkpoint import locate
from micrographia.model.tokens import BosPolicy, Tokenizer
from tests.model.tiny_gguf import gguf_of, hugging_face

HERO = "The official language of the country where the Eiffel Tower is located is"
UNWRITABLE = "\x04\x06\x13\x14\x16\x1d"
"""Characters that SmolLM2's vocabulary has no bytes for; planes 4 to 11 are the others."""


def writable(text: str) -> bool:
    return not any(c in UNWRITABLE or 0x40000 <= ord(c) < 0xC0000 for c in text)


@pytest.fixture(scope="module")
def smollm() -> Tokenizer:
    return Tokenizer.load(locate(None))


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A Llama with a sentencepiece vocabulary of bytes and a few words, which begins with `<s>`."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    gguf_of("llama", folder / "tiny.gguf", tokenizer="llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROGRAPHIA_CACHE", str(folder / "cache"))
        return Tokenizer.load(locate(str(folder / "tiny.gguf")))


# ---------------------------------------------------------------- prompts


def test_the_embedded_model_begins_with_what_its_checkpoint_records(smollm: Tokenizer) -> None:
    prompt = smollm.prompt(HERO)
    assert smollm.bos == BosPolicy((0,), "checkpoint")
    assert (prompt.ids[0], prompt.prepended, prompt.text) == (0, 1, HERO)
    assert prompt.pieces[:3] == ("<|endoftext|>", "The", "␣official")
    assert len(prompt) == len(prompt.pieces) == len(prompt.ids)
    assert smollm.decode(prompt.ids[1:]) == HERO


def test_the_policy_can_be_chosen(smollm: Tokenizer) -> None:
    bare = smollm.prompt(HERO, bos="none")
    assert bare.prepended == 0
    assert smollm.prompt(HERO).ids == (0, *bare.ids)
    assert smollm.prompt(HERO, bos="<|im_start|>").ids == smollm.prompt(HERO, bos=1).ids == (1, *bare.ids)
    with pytest.raises(PromptError, match="is 2 tokens for smollm2, not one"):
        smollm.prompt(HERO, bos=" Frenchwoman")


def test_a_text_that_begins_with_it_is_not_begun_twice(smollm: Tokenizer) -> None:
    assert smollm.prompt("<|endoftext|>" + HERO).ids == smollm.prompt(HERO).ids
    assert smollm.prompt("<|endoftext|>" + HERO).prepended == 1


def test_a_chat_is_written_in_the_model_s_own_template_and_begins_once(smollm: Tokenizer) -> None:
    prompt = smollm.chat([{"role": "user", "content": "Hi"}])
    assert prompt.text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert smollm.decode(prompt.ids) == prompt.text
    assert (prompt.ids[0], prompt.prepended) == (1, 0)


def test_an_answer_that_was_begun_is_gone_on_with(smollm: Tokenizer) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, my"}]
    assert smollm.chat(messages).text.endswith("<|im_start|>assistant\nHello, my")


def test_a_template_that_writes_the_first_token_is_not_given_another(sentencepiece: Tokenizer) -> None:
    prompt = sentencepiece.chat([{"role": "user", "content": "ab"}])
    assert prompt.text.startswith("<s>user: ab")
    assert (prompt.ids[:2].count(1), prompt.prepended) == (1, 1)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "The conversation is empty"),
        ([{"role": "user"}], "a role and a content, and this one has role"),
        ([{"role": "user", "content": "a", "tool": "b"}], "this one has role, content, tool"),
    ],
)
def test_a_conversation_that_is_none_is_refused(smollm: Tokenizer, messages: list[dict[str, str]], said: str) -> None:
    with pytest.raises(PromptError, match=said):
        smollm.chat(messages)


def test_an_empty_prompt_is_refused(smollm: Tokenizer) -> None:
    with pytest.raises(PromptError, match=r"The prompt is empty\. Write at least one character"):
        smollm.prompt("")
    with pytest.raises(PromptError, match=r"The prompt is empty\. Give at least one token id"):
        smollm.from_ids([])


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(smollm: Tokenizer) -> None:
    assert len(smollm.prompt("a" + " a" * 8190)) == 8192
    with pytest.raises(PromptError, match=r"takes 8193 tokens and smollm2 reads at most 8192\. Shorten it by 1"):
        smollm.prompt("a" + " a" * 8191)


def test_characters_that_would_be_dropped_are_refused_by_name(smollm: Tokenizer) -> None:
    with pytest.raises(PromptError, match=r"no tokens for U\+0004, U\+40000, and would drop"):
        smollm.prompt("a\x04b\U00040000")
    with pytest.raises(PromptError, match=r"no tokens for U\+0004, and would drop"):
        smollm.encode("a\x04b")


def test_half_a_character_is_refused(smollm: Tokenizer) -> None:
    with pytest.raises(PromptError, match="half a character"):
        smollm.prompt("a\ud800")


def test_a_prompt_of_ids_is_those_ids(smollm: Tokenizer) -> None:
    prompt = smollm.prompt(HERO)
    assert smollm.from_ids(prompt.ids) == prompt
    assert smollm.from_ids(prompt.ids[3:]).prepended == 0
    with pytest.raises(PromptError, match="no token 49152: smollm2 has the tokens 0 to 49151"):
        smollm.from_ids([49152])


# ---------------------------------------------------------------- tokens


def test_a_token_goes_by_its_exact_text(smollm: Tokenizer) -> None:
    french = smollm.token(" French")
    assert smollm.raw(french) == b" French"
    assert smollm.token(int(french)) == french
    assert smollm.token("French") != french
    assert smollm.token("<|im_end|>") == 2
    assert smollm.token("\n") == smollm.encode("\n")[0]


def test_a_text_of_several_tokens_is_answered_with_its_pieces_and_a_near_one(smollm: Tokenizer) -> None:
    with pytest.raises(PromptError, match=r"'iffel Tower' is 2 tokens for smollm2, not one: 'iffel' '␣Tower'\."):
        smollm.token("iffel Tower")
    with pytest.raises(PromptError, match=r"' Nairobi' is one token: write that"):
        smollm.token("Nairobi")
    with pytest.raises(PromptError, match="the name given is empty"):
        smollm.token("")


def test_a_character_of_several_tokens_is_shown_byte_by_byte(smollm: Tokenizer) -> None:
    prompt = smollm.prompt("😀\n\t x", bos="none")
    assert "".join(prompt.pieces) == "⟨F0 9F⟩⟨98⟩⟨80⟩⏎⇥␣x"
    assert b"".join(smollm.raw(i) for i in prompt.ids) == "😀\n\t x".encode()
    assert smollm.decode(prompt.ids[:2]) == "\ufffd"


def test_generation_ends_where_a_text_ends(smollm: Tokenizer, sentencepiece: Tokenizer) -> None:
    assert smollm.ends == (0, 2)
    assert sentencepiece.ends == (1, 2)


@given(text=st.text(min_size=1))
def test_any_text_comes_back(smollm: Tokenizer, text: str) -> None:
    assume(writable(text))
    prompt = smollm.prompt(text, bos="none")
    assert smollm.decode(prompt.ids) == text
    assert b"".join(smollm.raw(i) for i in prompt.ids) == text.encode()
    assert all(piece.isprintable() and piece for piece in prompt.pieces)


@given(ids=st.lists(st.integers(0, 49151), min_size=1, max_size=20))
def test_any_ids_decode_to_their_bytes(smollm: Tokenizer, ids: list[int]) -> None:
    assert smollm.decode(ids) == b"".join(smollm.raw(i) for i in ids).decode(errors="replace")


@given(token=st.integers(0, 49151))
def test_every_token_of_whole_characters_goes_by_its_text(smollm: Tokenizer, token: int) -> None:
    try:
        text = smollm.raw(token).decode()
    except UnicodeDecodeError:
        assert "⟨" in smollm.piece(token)
    else:
        assert smollm.token(text) == token


def test_digits_are_cut_one_by_one_as_the_model_was_trained(smollm: Tokenizer) -> None:
    assert smollm.prompt("in 2024", bos="none").pieces == ("in", "␣", "2", "0", "2", "4")


# ---------------------------------------------------------------- other vocabularies


@given(text=st.text(alphabet=st.characters(exclude_characters="▁", codec="utf-8"), min_size=1))
def test_any_text_comes_back_through_sentencepiece(sentencepiece: Tokenizer, text: str) -> None:
    assume(len(text.encode()) < 100)
    prompt = sentencepiece.prompt(text, bos="none")
    assert b"".join(sentencepiece.raw(i) for i in prompt.ids).removeprefix(b" ") == text.encode().removeprefix(b" ")


def test_sentencepiece_pieces_are_shown_alike(sentencepiece: Tokenizer) -> None:
    prompt = sentencepiece.prompt("ab a€")
    assert (prompt.ids[0], prompt.prepended) == (1, 1)
    assert sentencepiece.bos == BosPolicy((1,), "tokenizer")
    assert prompt.pieces == ("<s>", "␣ab", "␣a", "⟨E2⟩", "⟨82⟩", "⟨AC⟩")
    assert sentencepiece.token(" ab") == prompt.ids[1]
    assert sentencepiece.token("\n") == 3 + 10


def test_a_folder_s_tokenizer_does_what_transformers_does_by_default(tmp_path: Path) -> None:
    hugging_face("llama").save_pretrained(tmp_path)
    backend = Backend(WordLevel({f"t{i}": i for i in range(300)}, unk_token="t0"))
    whole = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="t7", add_bos_token=True)
    whole.save_pretrained(tmp_path)
    tokenizer = Tokenizer.load(locate(str(tmp_path)))
    assert tokenizer.bos == BosPolicy((7,), "tokenizer")
    assert list(tokenizer.prompt("t5").ids) == AutoTokenizer.from_pretrained(tmp_path)("t5").input_ids == [7, 5]
    with pytest.raises(PromptError, match="has no chat template"):
        tokenizer.chat([{"role": "user", "content": "t5"}])
    (tmp_path / "micrographia.json").write_text('{"schema_version": 1, "bos": 9}')
    assert Tokenizer.load(locate(str(tmp_path))).prompt("t5").ids == (9, 5)


def test_our_folder_read_without_transformers_is_read_as_transformers_reads_it(smollm: Tokenizer) -> None:
    theirs = AutoTokenizer.from_pretrained(locate(None).folder)
    for text in (HERO, "<|im_start|>x 123\n\n  é€😀", "def f():\n\treturn 2**10"):
        assert smollm.encode(text) == theirs(text, add_special_tokens=False).input_ids


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    hugging_face("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelFileError, match="has no tokenizer that transformers can read"):
        Tokenizer.load(locate(str(tmp_path)))


def test_a_tokenizer_cut_short_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(locate(None).folder, tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors")))
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:5000])
    with pytest.raises(ModelFileError, match=r"tokenizer\.json is cut short"):
        Tokenizer.load(locate(str(folder)))


def test_the_embedded_tokenizer_needs_neither_transformers_nor_a_second(smollm: Tokenizer) -> None:
    begun = time.process_time()
    Tokenizer.load(locate(None))
    assert time.process_time() - begun < 2
    code = (
        "import sys\nfrom micrographia.model.checkpoint import locate\n"
        "from micrographia.model.tokens import Tokenizer\n"
        "Tokenizer.load(locate(None)).prompt('a')\nprint('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
