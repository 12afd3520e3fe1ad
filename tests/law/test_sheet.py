"""Tables as they come: formats, repeated rows, ragged lines, columns by arithmetic, conditions over all columns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from splitjax.config import UserError
from splitjax.law import Table

ROWS = [
    {"model": "a", "flops": 6e15, "n_params": 1e6, "acc": 0.25},
    {"model": "b", "flops": 2.4e16, "n_params": 2e6, "acc": 0.5},
    {"model": "b", "flops": 1.2e16, "n_params": 2e6, "acc": 0.375},
]
COLUMNS = {"loss": "1-acc", "d_pretrain": "flops/(6*n_params)"}


def text(sign: str) -> str:
    lines = [sign.join(ROWS[0]), *(sign.join(str(cell) for cell in row.values()) for row in ROWS)]
    return "\n".join(lines) + "\n"


def save(path: Path) -> Path:
    """The rows in the format that the name says."""
    kind = path.name.removesuffix(".gz")
    if kind.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    words = "".join(json.dumps(row) + "\n" for row in ROWS) if kind.endswith(".jsonl") else ""
    data = (words or text("\t" if kind.endswith(".tsv") else ",")).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize(
    "name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.csv.gz", "t.tsv.gz", "t.jsonl.gz", "T.CSV"]
)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    table = Table.read(save(tmp_path / name), COLUMNS)
    assert table.n_params.tolist() == [1e6, 2e6, 2e6]
    assert table.d_pretrain.tolist() == [1e9, 2e9, 1e9]
    assert table.loss.tolist() == [0.75, 0.5, 0.625]
    assert table.column("model").tolist() == ["a", "b", "b"]
    assert table.notes == ()


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.csv.gz"])
def test_what_is_no_such_file_gets_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b\xff\x00nothing")
    with pytest.raises(UserError, match="not readable as") as caught:
        Table.read(tmp_path / name)
    assert "\n" not in str(caught.value)


HEAD = "n_params,d_pretrain,loss,note\n"
GOOD = HEAD + "1e6,1e7,3.5,x\n2e6,1e7,3.1,y\n"


def read(folder: Path, words: str, columns: dict[str, str] | None = None, name: str = "t.csv", **more: str) -> Table:
    path = folder / name
    path.write_text(words, encoding="utf-8")
    return Table.read(path, columns, **more)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (GOOD + "1e6,2e7,3\n", r"t.csv:4: 3 fields where the header names 4"),
        (GOOD + "\n1e6,2e7,3,z,7\n", r"t.csv:5: 5 fields where the header names 4"),
        (GOOD.replace("note", "loss"), r"t.csv:1: two columns are named 'loss'"),
        (GOOD.replace("note", " loss"), r"t.csv:1: two columns are named 'loss'"),
    ],
)
def test_ragged_lines_and_repeated_names_are_refused_by_line(tmp_path: Path, words: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read(tmp_path, words)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[1, 2]", r"t.jsonl:2: a line of JSON that is no object"),
        ("{'n': 1}", r"t.jsonl:2: not readable as JSON"),
        ('{"loss": 3, "loss": 4}', r"t.jsonl:2: two columns are named 'loss'"),
        ('{"n_params": 1e6, "d_pretrain": 2e7}', r"t.jsonl:2: column 'loss' holds nothing"),
        ('{"n_params": 1e6, "d_pretrain": 2e7, "loss": true}', r"t.jsonl:2: column 'loss' holds 'True'"),
        ('{"n_params": 1e6, "d_pretrain": 2e7, "loss": [3]}', r"t.jsonl:2: column 'loss' holds"),
        ('{"n_params": 1e6, "d_pretrain": 2e7, "loss": NaN}', r"t.jsonl:2: column 'loss' holds nan"),
    ],
)
def test_a_bad_line_of_json_is_told(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read(tmp_path, '{"n_params": 1e6, "d_pretrain": 1e7, "loss": 3}\n' + line, name="t.jsonl")


def test_a_hole_in_parquet_is_told_by_its_row(tmp_path: Path) -> None:
    columns = {"n_params": [1e6, 2e6], "d_pretrain": [10, 20], "loss": [3.0, None]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t.parquet, row 2: column 'loss' holds nothing"):
        Table.read(tmp_path / "t.parquet")


def test_rows_that_repeat_another_are_dropped_and_told(tmp_path: Path) -> None:
    table = read(tmp_path, GOOD + "1e6,1e7,3.5,x\n1000000,10000000,3.50,x\n2e6,1e7,3.1,z\n")
    assert table.loss.tolist() == [3.5, 3.1, 3.1]  # the last differs in its note
    assert table.notes == ("2 rows repeat others in every column and were dropped (first t.csv:4, t.csv:2 again).",)
    one = read(tmp_path, GOOD + "2e6,1e7,3.1,y\n")
    assert one.notes == ("1 row repeats another in every column and was dropped (t.csv:4 is t.csv:3 again).",)
    rows = [{"n_params": 1e6, "d_pretrain": 1e7, "loss": 3.5}] * 3
    assert len(Table.from_rows(rows)) == 1
    numbered = read(tmp_path, ",n_params,d_pretrain,loss\n0,1e6,1e7,3\n1,1e6,1e7,3\n")
    assert len(numbered) == 1  # the index that pandas writes has no name


def test_a_table_comes_back_with_all_its_rows(tmp_path: Path) -> None:
    """Rows that only a seed told apart stay two."""
    words = "n_params,d_pretrain,loss,seed\n1e6,1e7,3,0\n1e6,1e7,3,1\n"
    table = read(tmp_path, words)
    assert len(table) == 2
    assert Table.from_json(table.to_json()).hash == table.hash


@pytest.mark.parametrize(
    ("expression", "losses"),
    [
        ("1-acc", [0.75, 0.5, 0.625]),
        ("1 - acc", [0.75, 0.5, 0.625]),
        ("-log(acc)/log(2)", [2.0, 1.0, 1.4150374992788437]),
        ("acc", [0.25, 0.5, 0.375]),
        ("2*acc + 3/4", [1.25, 1.75, 1.5]),
        ("(1 - acc)**2", [0.5625, 0.25, 0.390625]),
        ("2^2^acc/2", [2 ** 2**0.25 / 2, 2 ** 2**0.5 / 2, 2 ** 2**0.375 / 2]),
        ("-acc^2 + 1", [0.9375, 0.75, 0.859375]),
        ("`acc` * 8e0", [2.0, 4.0, 3.0]),
        ("n_params/flops*1e9 - 1/8", [0.041666666666666664, -0.041666666666666664, 0.041666666666666664]),
    ],
)
def test_a_column_by_arithmetic(tmp_path: Path, expression: str, losses: list[float]) -> None:
    columns = {**COLUMNS, "loss": expression}
    if min(losses) < 0:
        with pytest.raises(UserError, match=r"t.csv:3: column 'loss=.*' holds -0.0416667; it must be positive"):
            read(tmp_path, text(","), columns)
    else:
        assert read(tmp_path, text(","), columns).loss == pytest.approx(losses, rel=1e-12)


def test_arithmetic_knows_our_names_after_the_files(tmp_path: Path) -> None:
    words = "N,C,loss\n1e6,6e15,0.25\n2e6,2.4e16,0.5\n"
    table = read(tmp_path, words, {"n_params": "N", "d_pretrain": "C/6/n_params", "loss": "1-loss"})
    assert table.d_pretrain.tolist() == [1e9, 2e9]
    assert table.loss.tolist() == [0.75, 0.5]
    with pytest.raises(UserError, match="'d_pretrain' is given by itself"):
        read(tmp_path, words, {"n_params": "N", "d_pretrain": "d_special*2", "d_special": "d_pretrain/2"})


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"loss": "1-ac"}, r"column loss=1-ac: no column 'ac'. Did you mean 'acc'"),
        ({"loss": "ac"}, r"no column 'ac'. Did you mean 'acc'"),
        ({"loss": "1-model"}, r"t.csv:2: column 'model' holds 'a', not a number"),
        ({"loss": "1/(acc-0.5)"}, r"t.csv:2: column 'loss=.*' holds -4; it must be positive"),
        ({"loss": "1/(acc-0.25)"}, r"t.csv:2: column 'loss=.*' holds inf"),
        ({"loss": "0.375-acc+0.125"}, r"t.csv:3: column 'loss=.*' holds 0; it must be positive"),
        ({"loss": "1-acc +"}, r"column loss=1-acc \+: something is missing at the end"),
        ({"loss": "acc > 0.3"}, r"column loss=acc > 0.3: .* is no arithmetic"),
        ({"loss": "1/4"}, r"column loss=1/4: there is no column"),
        ({"loss": "__import__('os')"}, r"column loss=__import__\('os'\): '__import__' is not a function"),
        ({"loss": "acc.real"}, r"column loss=acc.real: cannot read '.real'"),
        ({"loss": "(" * 60 + "acc" + ")" * 60}, r"there is too much nesting"),
        ({"domain": "1-acc"}, r"no column '1-acc'"),
        ({"price": "1-acc"}, r"'price' is not a column that a law knows"),
    ],
)
def test_arithmetic_that_fails_names_the_column(tmp_path: Path, columns: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        read(tmp_path, text(","), {**COLUMNS, **columns})
    assert "\n" not in str(caught.value)


def test_rows_are_read_by_a_condition_over_all_columns(tmp_path: Path) -> None:
    words = "n_params,d_pretrain,loss,set,mark\n1e6,1e7,3,c4,1\n1e6,2e7,2.9,c4,\n2e6,bad,-1,pile,2\n2e6,3e7,2,c4,2\n"
    with pytest.raises(UserError, match=r"t.csv:4: column 'd_pretrain' holds 'bad'"):
        read(tmp_path, words)
    table = read(tmp_path, words, where="set == c4")
    assert table.loss.tolist() == [3, 2.9, 2]
    assert table.notes == ('Of 4 rows, 3 were read: "set == c4".',)
    assert [table.place(row) for row in range(3)] == ["t.csv:2", "t.csv:3", "t.csv:5"]
    assert table.select(table.loss < 2.95).place(1) == "t.csv:5"
    assert Table.from_json(table.to_json()).place(1) == "row 2"
    assert read(tmp_path, words, where="set == 'c4' and mark >= 1").loss.tolist() == [3, 2]
    assert read(tmp_path, words, where="set == c4 and loss < 2.95").loss.tolist() == [2.9, 2]
    ratio = read(tmp_path, text(","), COLUMNS, where="d_pretrain/n_params > 600")
    assert ratio.loss.tolist() == [0.75, 0.5]  # 1e9/1e6 = 1000, 2e9/2e6 = 1000, 1e9/2e6 = 500
    with pytest.raises(UserError, match=r"where: .* holds for none of 4 rows"):
        read(tmp_path, words, where="set == c5")
    with pytest.raises(UserError, match=r"where: no column 'sets'. Did you mean 'set'"):
        read(tmp_path, words, where="sets == c5")


def test_bits_are_converted_before_a_condition_on_the_loss(tmp_path: Path) -> None:
    words = "n_params,d_pretrain,bits\n1e6,1e7,4\n1e6,2e7,2\n"
    table = read(tmp_path, words, {"loss": "bits"}, unit="bits", where="loss < 2")
    assert table.loss == pytest.approx([2 * np.log(2)])


@pytest.mark.parametrize("column", ["n_params", "d_pretrain", "loss"])
@pytest.mark.parametrize("value", ["1e308", "1e-308", "5e-324", "1e61"])
def test_a_number_that_no_run_has_is_refused_with_its_line(tmp_path: Path, column: str, value: str) -> None:
    rows = [{"n_params": n, "d_pretrain": d, "loss": 2.0} for n in ("1e6", "1e7") for d in ("1e8", "1e9")]
    rows[2][column] = value
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))
    with pytest.raises(UserError, match=rf"{path}:4: .*which no run has"):
        Table.read(path)
