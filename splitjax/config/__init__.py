"""Floor 0: settings, units, errors, files. Imports no other room and no JAX."""

from .editors import json_schema, schema_text
from .errors import UserError, did_you_mean
from .load import dump, from_dict, load
from .origin import Value, origins
from .paths import find_files, is_remote, local_copy, open_read
from .schema import Budget, Config, Data, Domains, Evaluate, Law, MeshSizes, Model, Source, Sweep, Tokenizer, Train
from .units import PerParam, format_count, parse_count, tokens_of
from .whole_files import (
    check_shape,
    disk_errors,
    hash_file,
    hash_json,
    read_json,
    read_record,
    write_atomic,
    write_json,
    write_record,
)
from .yaml_text import to_yaml

__all__ = [
    "Budget",
    "Config",
    "Data",
    "Domains",
    "Evaluate",
    "Law",
    "MeshSizes",
    "Model",
    "PerParam",
    "Source",
    "Sweep",
    "Tokenizer",
    "Train",
    "UserError",
    "Value",
    "check_shape",
    "did_you_mean",
    "disk_errors",
    "dump",
    "find_files",
    "format_count",
    "from_dict",
    "hash_file",
    "hash_json",
    "is_remote",
    "json_schema",
    "load",
    "local_copy",
    "open_read",
    "origins",
    "parse_count",
    "read_json",
    "read_record",
    "schema_text",
    "to_yaml",
    "tokens_of",
    "write_atomic",
    "write_json",
    "write_record",
]
