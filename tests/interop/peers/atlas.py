"""Run with the libraries' files at hand: read exported features with their own records, write a cache as delphi does.

Only single files are loaded: none of what the libraries need beside is asked of them here, and delphi's own settings
and hooks, which its cache imports, are empty.
"""

import gzip
import importlib.util
import json
import sys
import zlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

from safetensors.torch import load_file


def loaded(*path: str) -> ModuleType:
    place = next(Path(site).joinpath(*path) for site in sys.path if Path(site).joinpath(*path).is_file())
    spec = importlib.util.spec_from_file_location(place.stem, place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[place.stem] = module
    spec.loader.exec_module(module)
    return module


def circuit_tracer(folder: Path) -> int:
    record = loaded("circuit_tracer", "frontend", "feature_models.py").Model
    read = 0
    for layer in json.loads(gzip.decompress((folder / "index.json.gz").read_bytes())).values():
        whole = (folder / layer["filename"]).read_bytes()
        for start in layer["offsets"][:-1]:
            length = int.from_bytes(whole[start : start + 4], "little")
            record.model_validate(json.loads(zlib.decompress(whole[start + 4 : start + 4 + length])))
            read += 1
    return read


def neuronpedia(folder: Path) -> int:
    batch = loaded("sae_dashboard", "neuronpedia", "neuronpedia_dashboard.py").NeuronpediaDashboardBatch
    read = 0
    for path in folder.rglob("batch-*.json"):
        said = json.loads(path.read_text())
        again = batch(**said).to_dict()
        for ours, theirs in zip(said["features"], again["features"], strict=True):
            assert all(theirs[key] == value for key, value in ours.items()), path
            read += 1
    return read


def delphi(work: Path) -> None:
    empty = {"delphi": "logger", "delphi.config": "CacheConfig", "delphi.latents": "none"}
    empty["delphi.latents.collect_activations"] = "collect_activations"
    for name, attribute in empty.items():
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], attribute, SimpleNamespace())
    held = load_file(work / "ours" / "acts.safetensors")
    cache = loaded("delphi", "latents", "cache.py").LatentCache(None, {}, batch_size=8)
    tokens = held.pop("tokens")
    for module, acts in held.items():
        for number in range(0, len(tokens), 8):
            cache.cache.add(acts[number : number + 8], tokens[number : number + 8], number // 8, module)
    cache.width = next(iter(held.values())).shape[-1]
    cache.cache.save()
    cache.save_splits(3, work / "theirs")


if __name__ == "__main__":
    work = Path(sys.argv[1])
    (work / "theirs").mkdir()
    delphi(work)
    counts = {"circuit-tracer": circuit_tracer(work / "ours" / "pages" / "features")}
    counts["neuronpedia"] = neuronpedia(work / "ours" / "batches")
    (work / "theirs" / "read.json").write_text(json.dumps(counts))
