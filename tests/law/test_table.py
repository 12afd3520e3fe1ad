"""Tables: what is read, and one clear line for everything that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import Table, fit

HEAD = "n_params,d_pretrain,d_special,loss,domain,run\n"
GOOD = HEAD + "1e6,1e7,0,3.5,law,a\n1e6,1e7,2e6,3.1,law,b\n2e6,0,2e6,3.3,code,c\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "runs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_read(tmp_path: Path) -> None:
    table = Table.read(write(tmp_path, GOOD))
    assert len(table) == 3
    assert table.domains == ("law", "code")
    assert table.d_special.tolist() == [0, 2e6, 2e6]
    assert table.run is not None


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    path = write(tmp_path, "N,tokens,val\n1e6,1e7,3.5\n2e6,1e7,3.1\n")
    table = Table.read(path, {"n_params": "N", "d_pretrain": "tokens", "loss": "val"})
    assert table.n_params.tolist() == [1e6, 2e6]
    assert not table.has_special


def test_bits_become_nats(tmp_path: Path) -> None:
    path = write(tmp_path, "n_params,d_pretrain,loss_bits\n1e6,1e7,2.0\n")
    assert Table.read(path, {"loss": "loss_bits"}, unit="bits").loss[0] == pytest.approx(2 * np.log(2))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the table is empty"),
        (HEAD, "the table has no rows"),
        ("n_params,d_pretrain,domain\n1,2,a\n", r"column 'loss' is missing.*--columns loss=NAME"),
        ("d_pretrain,loss_bits\n1,2\n", r"column 'n_params' is missing"),
        ("n_params,d_pretrain,loss_bits\n1,2,3\n", r"'loss_bits' is in bits.*--loss-unit bits"),
        ("n_params,d_pretrain,loss (bits)\n1,2,3\n", r"'loss \(bits\)' is in bits"),
        (GOOD.replace("3.1", "nan"), r"runs.csv:3: column 'loss' holds nan"),
        (GOOD.replace("3.1", "-3.1"), r"runs.csv:3: column 'loss' holds -3.1; it must be positive"),
        (GOOD.replace("3.1", "three"), r"runs.csv:3: column 'loss' holds 'three', not a number"),
        (GOOD.replace(",3.1,", ",,"), r"runs.csv:3: column 'loss' holds nothing, not a number"),
        (GOOD.replace("2e6,0,", "0,0,"), r"runs.csv:4: column 'n_params' holds 0; it must be positive"),
        (GOOD.replace("2e6,0,", "2e6,-1,"), r"runs.csv:4: column 'd_pretrain' holds -1"),
        (GOOD.replace("law,b", ",b"), r"runs.csv:3: column 'domain' is empty"),
        (HEAD + "1e6\n", r"runs.csv:2: 1 field where the header names 6"),
        ("n_params,d_pretrain,u_pretrain,loss\n1e6,5,6,3\n", r"u_pretrain exceeds d_pretrain"),
    ],
)
def test_a_bad_table_gets_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        Table.read(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_wrong_mapping_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such table"):
        Table.read(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"no column 'los'.*Did you mean 'loss'"):
        Table.read(write(tmp_path, GOOD), {"loss": "los"})
    with pytest.raises(UserError, match="'price' is not a column that a law knows"):
        Table.read(write(tmp_path, GOOD), {"price": "loss"})


def test_fewer_rows_than_parameters_are_told(tmp_path: Path) -> None:
    lines = [f"{n}e6,{d}e7,{5 - n / 9 - d / 9}" for n, d in [(1, 2), (2, 1), (3, 5)]]
    text = "\n".join(["n_params,d_pretrain,loss", *lines])
    with pytest.raises(UserError, match="3 rows that it can predict do not determine its 5 parameters"):
        fit(Table.read(write(tmp_path, text)), "chinchilla")


def test_the_hash_tells_values_not_layout(tmp_path: Path) -> None:
    one = Table.read(write(tmp_path, GOOD))
    two = Table.read(write(tmp_path, GOOD.replace("1e6", "1000000")))
    other = Table.read(write(tmp_path, GOOD.replace("3.3", "3.4")))
    assert one.hash == two.hash != other.hash
    assert Table.from_json(one.to_json()).hash == one.hash
