"""Writes `viewer/src/wire.ts`, the page's types, from the records that the page is sent.

.venv/bin/python viewer/wire_types.py [FILE]
"""

import sys
from pathlib import Path
from typing import cast

from pydantic.json_schema import models_json_schema

from micrographia.report.wire import attention, live, records

HERE = Path(__file__).parent
HEAD = "// Made by viewer/wire_types.py from micrographia.report.wire: change it there, then run scripts/viewer.\n"
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def typed(schema: dict[str, object]) -> str:
    """A JSON schema as a TypeScript type."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return " | ".join(map(_literal, cast("list[object]", schema["enum"])))
    if "anyOf" in schema:
        return " | ".join(map(typed, cast("list[dict[str, object]]", schema["anyOf"])))
    if schema.get("type") == "array":
        inner = typed(cast("dict[str, object]", schema["items"]))
        return f"readonly ({inner})[]" if " " in inner else f"readonly {inner}[]"
    if schema.get("type") == "object":
        return f"{{ readonly [name: string]: {typed(cast('dict[str, object]', schema['additionalProperties']))} }}"
    return PLAIN[str(schema["type"])]


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def interface(name: str, schema: dict[str, object]) -> str:
    fields = cast("dict[str, dict[str, object]]", schema["properties"])
    lines = [f"  readonly {field}: {typed(each)};" for field, each in fields.items()]
    words = str(schema.get("description", "")).split("\n")[0]
    return "\n".join([f"/** {words} */", f"export interface {name} {{", *lines, "}"])


def types() -> str:
    kinds = [
        each
        for module in (records, live, attention)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, records.WireRecord) and each is not records.WireRecord
    ]
    _, schema = models_json_schema([(kind, "serialization") for kind in kinds])
    defined = cast("dict[str, dict[str, object]]", schema["$defs"])
    return "\n\n".join([HEAD.rstrip(), *(interface(name, defined[name]) for name in sorted(defined))]) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "src" / "wire.ts"
    path.write_text(types(), encoding="utf-8")
