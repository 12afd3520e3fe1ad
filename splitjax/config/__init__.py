"""Floor 0: what a user may say, and what is said back: settings, units, errors, whole files.

Enters: typed and strict settings, YAML and overrides, units, the one exception a user may cause, records that appear
whole or not at all. Does not enter: JAX, any other room, and what a setting does.
"""

from .editors import json_schema, schema_text
from .errors import ReadError, UserError, control_character, did_you_mean, shown
from .load import config_at, dump, from_dict, is_models, load, origins
from .notebook_cells import Shown
from .origin import Value
from .paths import find_files, is_remote, local_copy, open_read
from .schema import (
    Auto,
    Budget,
    Config,
    Data,
    Domains,
    Evaluate,
    Law,
    MeshSizes,
    Model,
    RopeScaling,
    Source,
    Sweep,
    Tokenizer,
    Train,
)
from .train_settings import OPERATIONAL, SAME_BITS
from .units import PerParam, format_bytes, format_count, parse_count, tokens_of
from .whole_files import (
    beside,
    check_shape,
    check_target,
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
    "OPERATIONAL",
    "SAME_BITS",
    "Auto",
    "Budget",
    "Config",
    "Data",
    "Domains",
    "Evaluate",
    "Law",
    "MeshSizes",
    "Model",
    "PerParam",
    "ReadError",
    "RopeScaling",
    "Shown",
    "Source",
    "Sweep",
    "Tokenizer",
    "Train",
    "UserError",
    "Value",
    "beside",
    "check_shape",
    "check_target",
    "config_at",
    "control_character",
    "did_you_mean",
    "disk_errors",
    "dump",
    "find_files",
    "format_bytes",
    "format_count",
    "from_dict",
    "hash_file",
    "hash_json",
    "is_models",
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
    "shown",
    "to_yaml",
    "tokens_of",
    "write_atomic",
    "write_json",
    "write_record",
]
