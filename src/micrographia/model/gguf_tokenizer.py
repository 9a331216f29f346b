"""The tokenizer that a GGUF describes, written as `tokenizer.json` and `tokenizer_config.json`.

A GGUF keeps vocabulary and merges, and names the rest: how text is cut before merging is one word
(`tokenizer.ggml.pre`). A word that is not known here is refused: a wrong cut would give wrong ids silently.
"""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.model.gguf import GgufFile
from micrographia.store import write_json

__all__ = ["write_tokenizer"]

_CONTROL, _USER_DEFINED = 3, 4
_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}

_DIGIT_BY_DIGIT = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
_LIKE_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion")
_WHOLE_WORDS_FIRST = ("llama3", "llama-v3", "llama-bpe", "falcon3", "tekken")
"""A word that is in the vocabulary is not merged up from its letters; these also begin with a BOS token."""


def write_tokenizer(file: GgufFile, folder: Path) -> None:
    """Write both files into a folder."""
    backend = _backend(file)
    write_json(folder / "tokenizer_config.json", _config(file))
    (folder / "tokenizer.json").write_text(backend.to_str(), encoding="utf-8")


def _backend(file: GgufFile) -> Tokenizer:
    model = file.text("tokenizer.ggml.model")
    pre = file.metadata.get("tokenizer.ggml.pre")
    if model == "gpt2" and pre in _DIGIT_BY_DIGIT:
        backend = _byte_level(file, digits=True)
    elif model == "gpt2" and pre in _LIKE_GPT2:
        backend = _byte_level(file, digits=False)
    else:
        backend = _by_transformers(file, model, pre)
    if pre in _WHOLE_WORDS_FIRST:
        backend.model.ignore_merges = True
    _add_marked(backend, file)
    expected = file.texts("tokenizer.ggml.tokens")
    if backend.get_vocab_size(with_added_tokens=True) != len(set(expected)):
        raise ModelFileError(f"{file.path}: its {len(expected)} tokens do not make a vocabulary of that size.")
    return backend


def _byte_level(file: GgufFile, *, digits: bool) -> Tokenizer:
    from tokenizers import decoders, pre_tokenizers
    from tokenizers.models import BPE

    tokens, merges = file.texts("tokenizer.ggml.tokens"), file.texts("tokenizer.ggml.merges")
    pairs = [(left, right) for left, right in (merge.split(" ", 1) for merge in merges)]
    backend = Tokenizer(BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs))
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    by_digit = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*by_digit, bytes_])
    backend.decoder = decoders.ByteLevel()
    return backend


def _by_transformers(file: GgufFile, model: str, pre: object) -> Tokenizer:
    """Every other kind that transformers knows how to build."""
    from transformers.integrations.gguf import gguf_tokenizer_mapping as known

    cuts = sorted({*known.GGUF_PRE_TOKENIZER_SPLITS, *_DIGIT_BY_DIGIT, *_LIKE_GPT2})
    if model not in ("gpt2", "llama") or (model == "gpt2" and pre not in cuts):
        raise UnsupportedError(
            f"{file.path} has a tokenizer of the kind {model!r} that cuts text by {pre!r}. Read are "
            f"'llama', and 'gpt2' that cuts by one of: {', '.join(cuts)}. "
            "Give a folder in Hugging Face's layout instead."
        )
    short = {key.removeprefix("tokenizer."): value for key, value in file.metadata.items()}
    names = known.GGUF_TOKENIZER_MAPPING["tokenizer"]
    described = {name: short[key] for key, name in names.items() if key in short}
    return Tokenizer.from_str(known.convert_gguf_tokenizer(file.arch, described)[0].to_str())


def _add_marked(backend: Tokenizer, file: GgufFile) -> None:
    """Tokens that are never cut: control tokens are special, user-defined ones are plain text."""
    kinds = file.numbers("tokenizer.ggml.token_type")
    texts = file.texts("tokenizer.ggml.tokens")
    present = backend.get_vocab(with_added_tokens=True)
    marked = [(text, kind) for text, kind in zip(texts, kinds, strict=False) if text in present]
    control = [text for text, kind in marked if kind == _CONTROL]
    defined = [text for text, kind in marked if kind == _USER_DEFINED]
    backend.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in control])
    backend.add_tokens([AddedToken(text, normalized=False, special=False) for text in defined])


def _config(file: GgufFile) -> dict[str, object]:
    tokens = file.texts("tokenizer.ggml.tokens")
    pre = file.metadata.get("tokenizer.ggml.pre")
    begins = file.text("tokenizer.ggml.model") == "llama" or pre in _WHOLE_WORDS_FIRST
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": file.whole(f"{file.arch}.context_length"),
        "add_bos_token": file.metadata.get("tokenizer.ggml.add_bos_token", begins),
        "add_eos_token": file.metadata.get("tokenizer.ggml.add_eos_token", False),
    }
    for role, word in _ROLES.items():
        token = file.whole(f"tokenizer.ggml.{word}_token_id")
        if token is not None and not 0 <= token < len(tokens):
            raise ModelFileError(f"{file.path}: its {word} token {token} is not in its vocabulary of {len(tokens)}.")
        if token is not None:
            config[role] = tokens[token]
    if "tokenizer.chat_template" in file.metadata:
        config["chat_template"] = file.text("tokenizer.chat_template")
    return config
