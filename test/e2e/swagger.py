"""Answers held against the schemas that Docker publishes for a version of its API (Swagger 2.0)."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import yaml


def schema_of(node):
    """JSON Schema of a Swagger schema. A list or a map may be null: so Docker's own daemon says that there is nothing."""
    if isinstance(node, list):
        return [schema_of(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: schema_of(value) for key, value in node.items() if key not in ("example", "examples", "discriminator", "format")}
    if isinstance(out.get("type"), str) and (node.get("x-nullable") or out["type"] in ("array", "object")):
        out["type"] = [out["type"], "null"]
        if "enum" in out:
            out["enum"] = [*out["enum"], None]
    if node.get("x-nullable") and "$ref" in out:
        return {"anyOf": [out, {"type": "null"}]}
    return out


class Swagger:
    def __init__(self, path: Path):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.document = yaml.load(path.read_text(), loader)
        self.definitions = schema_of(self.document["definitions"])

    def check(self, method: str, path: str, status: int, body) -> None:
        """AssertionError naming the first places that do not fit. `path` is the template: "/containers/{id}/json"."""
        answers = self.document["paths"][path][method.lower()]["responses"]
        assert status in answers, f"{method} {path}: {status} is no answer of it, {sorted(answers)} are"
        schema = dict(schema_of(answers[status].get("schema", {})), definitions=self.definitions)
        faults = sorted(jsonschema.Draft4Validator(schema).iter_errors(body), key=lambda fault: list(map(str, fault.path)))
        told = "; ".join(f"{'/'.join(map(str, fault.path))}: {fault.message[:150]}" for fault in faults[:5])
        assert not faults, f"{method} {path}: {told}"
