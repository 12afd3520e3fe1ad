"""The schema of a config file as JSON Schema, for editors that complete and check YAML."""

from __future__ import annotations

import json
from typing import Any

from .presets import PRESETS
from .schema import Config


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a config file: what `load` refuses for its form alone, it refuses too."""
    schema = Config.model_json_schema()
    names = {"enum": sorted(PRESETS), "description": "A preset's name stands for its sizes."}
    shape = schema["$defs"]["Model"]
    shape["properties"] = {"preset": names | {"description": "The sizes to start from."}, **shape["properties"]}
    schema["$defs"]["Model"] = {"anyOf": [names, shape]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "splitjax config"}


def schema_text() -> str:
    """`json_schema` as the file configs/schema.json."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
