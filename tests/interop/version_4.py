"""A model's folder as transformers 4 reads it: what version 5 moved in its JSON files stands where it stood."""

import json
import shutil
from pathlib import Path

__all__ = ["save_version_4"]


def save_version_4(source: Path, folder: Path) -> None:
    """A copy of a folder, its weights linked. Version 4 silently takes 10,000 for a rotary base it does not find."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            (folder / path.name).symlink_to(path.resolve())
        else:
            shutil.copy(path, folder)
    config = json.loads((folder / "config.json").read_text())
    rotary = config.pop("rope_parameters")
    if rotary["rope_type"] != "default":
        raise ValueError(f"only plain rotary positions are written for version 4, and these are {rotary['rope_type']}")
    config |= {"rope_theta": rotary["rope_theta"], "torch_dtype": config.pop("dtype")}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=1))
