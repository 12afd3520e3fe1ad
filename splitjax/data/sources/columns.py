"""Parquet files, and Hugging Face datasets saved to disk (Arrow files in a folder)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from splitjax.config import Source, UserError, find_files, hash_file, read_json

from ..documents import Document
from ..tokenizing.tokenizer import Tokenizer
from .arrow_rows import rows
from .files import find
from .rows import Skips, document, kept


def parts(source: Source) -> list[str]:
    if source.type == "parquet":
        return find(source.path or "", (".parquet",))
    _refuse_several_splits(source.path or "")
    return [file for file in find(source.path or "", (".arrow",)) if _saved(file)]


def _refuse_several_splits(path: str) -> None:
    """A dictionary of datasets holds train and test side by side: which of them is meant must be said."""
    told = f"{path.rstrip('/')}/dataset_dict.json"
    if find_files(told):
        splits = read_json(told).get("splits", [])
        raise UserError(f"holds the splits {', '.join(map(str, splits))}", where=path,
                        mend=f"Give the path of one: {path.rstrip('/')}/{splits[0] if splits else 'train'}")


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str, tokenizer: Tokenizer | None, skips: Skips) -> Iterator[Document]:
    wanted = [field for field in (source.text_field, source.label_field, source.vector_field) if field]
    for number, row in rows(part, wanted):
        make = partial(document, source, row, f"{part}:{number}", skips.need_label)
        if (found := kept(make, source, skips)) is not None:
            yield found


def _saved(file: str) -> bool:
    """Whether a dataset counts the file as its own: an earlier save may have left others in the folder."""
    folder, _, name = file.rpartition("/")
    state = f"{folder}/state.json" if folder else "state.json"
    return not find_files(state) or name in [row["filename"] for row in read_json(state)["_data_files"]]
