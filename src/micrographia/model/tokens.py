"""Text to ids and back. A prompt is tokenised once; everything after that is ids.

What stands in front of a prompt is a policy that can be seen and chosen (`BosPolicy`), never a side effect.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import index
from pathlib import Path
from typing import Literal, Protocol, SupportsIndex, TypeAlias, cast, final, runtime_checkable

from tokenizers import Tokenizer as Backend

from micrographia.errors import ModelFileError, PromptError, UnsupportedError
from micrographia.ids import TokenId
from micrographia.model.checkpoint import Checkpoint
from micrographia.model.pieces import (
    Spelling,
    shown,
    spelling_of,
    spellings_of,
    token_bytes,
    unwritable_bytes,
)

__all__ = ["Bos", "BosPolicy", "ChatMessage", "Prompt", "Tokenizer"]

Bos: TypeAlias = str | SupportsIndex
"""`"auto"`, `"none"`, or the token to put in front, as text or id."""
ChatMessage: TypeAlias = Mapping[str, str]
"""`{"role": "user", "content": "…"}`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenised prompt. The first `prepended` ids were put in front of what was written."""

    ids: tuple[TokenId, ...]
    pieces: tuple[str, ...]
    text: str
    prepended: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class BosPolicy:
    """What `"auto"` puts in front of a plain prompt, and who says so."""

    ids: tuple[TokenId, ...]
    source: Literal["checkpoint", "tokenizer"]


@runtime_checkable
class _Whole(Protocol):
    """What is used of transformers' tokenizer."""

    chat_template: object
    is_fast: bool
    eos_token_id: object
    backend_tokenizer: Backend

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> str: ...


@final
class Tokenizer:
    """A checkpoint's tokenizer. `load` makes one."""

    __slots__ = (
        "_added",
        "_backend",
        "_spelling",
        "_unwritable",
        "_whole",
        "bos",
        "context",
        "d_vocab",
        "ends",
        "name",
    )

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        bos: BosPolicy,
        ends: tuple[TokenId, ...],
        context: int,
        d_vocab: int,
        whole: "Callable[[], _Whole]",
    ) -> None:
        self.name = name
        self.bos = bos
        self.ends = ends
        """Tokens that end a text, or begin the next one: generation stops there."""
        self.context = context
        self.d_vocab = d_vocab
        self._backend = backend
        self._whole = whole
        self._spelling: Spelling = spelling_of(backend)
        self._unwritable = unwritable_bytes(backend, self._spelling)
        self._added = {i: token.content for i, token in backend.get_added_tokens_decoder().items()}

    @staticmethod
    def load(checkpoint: Checkpoint) -> "Tokenizer":
        """The tokenizer that comes with a checkpoint."""
        config: object = checkpoint.config()
        files = _ours(checkpoint) if checkpoint.manifest is not None else _foreign(checkpoint)
        d_vocab = _size(config, "vocab_size", checkpoint)
        recorded = checkpoint.habits().bos
        if recorded is not None and not 0 <= recorded < d_vocab:
            raise ModelFileError(f"{checkpoint.folder} records a BOS {recorded}; the tokens are 0 to {d_vocab - 1}.")
        bos = files.bos if recorded is None else BosPolicy((TokenId(recorded),), "checkpoint")
        written = [getattr(config, "eos_token_id", None), _generation_end(checkpoint.folder), files.eos]
        return Tokenizer(
            checkpoint.name,
            files.backend,
            bos=bos,
            ends=tuple(sorted({*bos.ids, *(TokenId(i) for value in written for i in _ids(value))})),
            context=_size(config, "max_position_embeddings", checkpoint),
            d_vocab=d_vocab,
            whole=files.whole,
        )

    # ------------------------------------------------------------ prompts

    def prompt(self, text: str, bos: Bos = "auto") -> Prompt:
        """Tokenise plain text. What stands in front is put there once, even if the text begins with it."""
        if not text:
            raise PromptError("The prompt is empty. Write at least one character of text.")
        self._check_written(text)
        return self._prompt(text, self._encode(text), self.front(bos))

    def chat(self, messages: Sequence[ChatMessage]) -> Prompt:
        """Tokenise a conversation in the model's own template; nothing is put in front of what that writes.

        After a user's message it is the model's turn; a last message of the assistant is to be continued.
        """
        whole = self._whole()
        if not whole.chat_template:
            raise PromptError(f"{self.name} has no chat template. Write the conversation as a plain prompt.")
        text = _rendered(whole, _checked(messages), self.name)
        self._check_written(text)
        ids = self._encode(text)
        prompt = self._prompt(text, ids, ())
        front = self.bos.ids
        return Prompt(prompt.ids, prompt.pieces, text, len(front) if _begins(ids, front) else 0)

    def from_ids(self, ids: Iterable[SupportsIndex]) -> Prompt:
        """A prompt of these very ids; nothing is put in front."""
        checked = [self.token(i) for i in ids]
        if not checked:
            raise PromptError("The prompt is empty. Give at least one token id.")
        self.check_room(len(checked))
        front = self.bos.ids
        prepended = len(front) if _begins(checked, front) else 0
        return Prompt(tuple(checked), self.pieces(checked), self.decode(checked[prepended:]), prepended)

    def check_room(self, n_tokens: int) -> None:
        """Refuse what is longer than the model's context."""
        if n_tokens > self.context:
            raise PromptError(
                f"This takes {n_tokens} tokens and {self.name} reads at most {self.context}. "
                f"Shorten it by {n_tokens - self.context}."
            )

    # ------------------------------------------------------------ tokens

    def token(self, name: Bos) -> TokenId:
        """One token by its id, or by its text, spaces included: `" French"`."""
        if not isinstance(name, str):
            number = index(name)  # numpy's and torch's whole numbers too
            if not 0 <= number < self.d_vocab:
                raise PromptError(f"There is no token {number}: {self.name} has the tokens 0 to {self.d_vocab - 1}.")
            return TokenId(number)
        found = self._find(name)
        if found is None:
            raise PromptError(self._not_one_token(name))
        return found

    def is_token(self, text: str) -> bool:
        """Whether a text is exactly one token."""
        return self._find(text) is not None

    def raw(self, token: int) -> bytes:
        """The bytes that a token stands for."""
        if token in self._added:
            return self._added[token].encode()
        text = self._backend.id_to_token(self.token(token))
        return b"" if text is None else token_bytes(text, self._spelling)

    def piece(self, token: int) -> str:
        """A token as people read it: `␣French`, `⏎`, `⟨E2 82⟩`."""
        return shown(self.raw(token)) or f"⟨{token}⟩"

    def pieces(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Tokens as people read them, one by one."""
        return tuple(self.piece(i) for i in ids)

    def encode(self, text: str) -> list[TokenId]:
        """The bare ids of a text of any length: nothing in front, no limit. For a corpus cut up later.

        A character that the vocabulary cannot write is dropped here; `prompt` refuses it.
        """
        self._check_written(text)
        return self._encode(text)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """The bare ids of several texts at once, without Python's lock; what `unwritable` lists is dropped."""
        found = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def unwritable(self, text: str) -> list[str]:
        """The characters of a text that the vocabulary cannot write."""
        return [c for c in dict.fromkeys(text) if self._unwritable.intersection(_utf8(c))] if self._unwritable else []

    def literal(self) -> "Tokenizer":
        """The same, except that a special token written out in a text is read as text: `<|im_end|>` is seven tokens."""
        backend = Backend.from_str(self._backend.to_str())
        backend.encode_special_tokens = True
        sizes = {"context": self.context, "d_vocab": self.d_vocab}
        return Tokenizer(self.name, backend, bos=self.bos, ends=self.ends, whole=self._whole, **sizes)

    def ordinary(self) -> list[TokenId]:
        """Every token that stands for text, without the special ones."""
        return [TokenId(i) for i in range(self._backend.get_vocab_size()) if i not in self._added and i < self.d_vocab]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids; bytes that are not whole characters become `�`."""
        return self._backend.decode([self.token(i) for i in ids], skip_special_tokens=False)

    # ------------------------------------------------------------ parts

    def _encode(self, text: str) -> list[TokenId]:
        _utf8(text)
        return [TokenId(i) for i in self._backend.encode(text, add_special_tokens=False).ids]

    def _prompt(self, text: str, ids: list[TokenId], front: tuple[TokenId, ...]) -> Prompt:
        whole = tuple(ids) if _begins(ids, front) else (*front, *ids)
        if not ids:
            raise PromptError(f"The prompt {text!r} has no tokens: {self.name} drops all of it.")
        self.check_room(len(whole))
        return Prompt(whole, self.pieces(whole), text, len(front))

    def front(self, bos: Bos = "auto") -> tuple[TokenId, ...]:
        """What a policy puts in front of a plain prompt."""
        if bos == "auto":
            return self.bos.ids
        return () if bos == "none" else (self.token(bos),)

    def _check_written(self, text: str) -> None:
        """Refuse characters that the tokenizer would drop without a word."""
        if lost := self.unwritable(text):
            listed = ", ".join(f"U+{ord(c):04X}" for c in lost)
            raise PromptError(f"{self.name} has no tokens for {listed}, and would drop it. Leave it out of the text.")

    def _find(self, text: str) -> TokenId | None:
        """The token of exactly these characters."""
        added = (i for i, content in self._added.items() if content == text)
        written = (self._backend.token_to_id(entry) for entry in spellings_of(_utf8(text), self._spelling))
        found = next((i for i in (*added, *written) if i is not None), None)
        return None if found is None else TokenId(found)

    def _not_one_token(self, text: str) -> str:
        if not text:
            return "A token needs at least one character; the name given is empty."
        ids = self._encode(text)
        listed = " ".join(repr(piece) for piece in self.pieces(ids)) or "nothing"
        other = [near for near in (" " + text, text.strip()) if near != text and self._find(near) is not None]
        hint = f" {other[0]!r} is one token: write that." if other else " Choose one of its pieces, or give an id."
        if len(ids) == 1:
            return f"{text!r} is no token of {self.name}, which reads it as {listed}.{hint}"
        return f"{text!r} is {len(ids)} tokens for {self.name}, not one: {listed}.{hint}"


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The text holds {text[error.start]!r}, which is half a character: it is not Unicode."
        ) from error


def _begins(ids: Sequence[TokenId], front: tuple[TokenId, ...]) -> bool:
    return bool(front) and tuple(ids[: len(front)]) == front


def _checked(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    if not messages:
        raise PromptError('The conversation is empty. Write e.g. [{"role": "user", "content": "Hello"}].')
    for message in messages:
        if set(message) != {"role", "content"}:
            has = ", ".join(message) or "nothing"
            raise PromptError(f"A message has a role and a content, and this one has {has}.")
    return [dict(message) for message in messages]


def _rendered(whole: _Whole, messages: list[dict[str, str]], name: str) -> str:
    from jinja2 import TemplateError

    unfinished = messages[-1]["role"] == "assistant"
    try:
        return whole.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=not unfinished,
            continue_final_message=unfinished,
        )
    except (TemplateError, ValueError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise PromptError(f"The chat template of {name} refuses the roles {roles}: {error}") from error


# ---------------------------------------------------------------- files


@dataclass(frozen=True, slots=True)
class _Files:
    """A tokenizer as its files have it; `whole` is transformers' own, which takes seconds to import."""

    backend: Backend
    bos: BosPolicy
    eos: object
    whole: "Callable[[], _Whole]"


def _ours(checkpoint: Checkpoint) -> _Files:
    """Our own folder, which says everything in two files: no need of transformers unless there is a chat."""
    folder = checkpoint.folder
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    config = cast("dict[str, object]", json.loads((folder / "tokenizer_config.json").read_bytes()))
    first = backend.token_to_id(str(config.get("bos_token"))) if config.get("add_bos_token") else None
    front = () if first is None else (TokenId(first),)
    eos = backend.token_to_id(str(config.get("eos_token")))
    return _Files(backend, BosPolicy(front, "tokenizer"), eos, partial(_by_transformers, checkpoint))


def _foreign(checkpoint: Checkpoint) -> _Files:
    """Anybody's folder: transformers knows what each kind of tokenizer needs."""
    whole = _by_transformers(checkpoint)
    if not whole.is_fast:
        raise UnsupportedError(
            f"{checkpoint.name} has a tokenizer written in Python; only those with a tokenizer.json, or that "
            "transformers can turn into one, are read."
        )
    backend = whole.backend_tokenizer
    policy = BosPolicy(_default_front(backend), "tokenizer")
    return _Files(backend, policy, whole.eos_token_id, lambda: whole)


def _by_transformers(checkpoint: Checkpoint) -> _Whole:
    from transformers import AutoTokenizer

    path = checkpoint.folder / "tokenizer.json"
    if path.is_file() and not path.read_bytes().rstrip().endswith(b"}"):
        raise ModelFileError(f"{path} is cut short. Fetch it again.")
    load = cast("Callable[..., _Whole]", AutoTokenizer.from_pretrained)
    try:
        return load(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFileError(f"{checkpoint.folder} has no tokenizer that transformers can read: {reason}") from error


def _default_front(backend: Backend) -> tuple[TokenId, ...]:
    """What the tokenizer itself puts in front of a text."""
    plain = backend.encode("a", add_special_tokens=False).ids
    whole = backend.encode("a", add_special_tokens=True).ids
    start = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
    return tuple(TokenId(i) for i in whole[:start])


def _generation_end(folder: Path) -> object:
    path = folder / "generation_config.json"
    if not path.is_file():
        return None
    try:
        return cast("dict[str, object]", json.loads(path.read_bytes())).get("eos_token_id")
    except ValueError as error:
        raise ModelFileError(f"{path} cannot be read as JSON: {error}.") from error


def _ids(value: object) -> list[int]:
    """One id, several, or none."""
    many = cast("list[object]", value) if isinstance(value, list) else [value]
    return [entry for entry in many if isinstance(entry, int)]


def _size(config: object, key: str, checkpoint: Checkpoint) -> int:
    value = getattr(config, key, None)
    if not isinstance(value, int) or value < 1:
        raise ModelFileError(f"{checkpoint.folder / 'config.json'} must give a whole number for {key}, not {value!r}.")
    return value
