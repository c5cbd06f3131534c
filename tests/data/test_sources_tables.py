"""CSV and Parquet: what is read, and how faults are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.data.sources import Source, read
from luthier.data.sources.delimited import sniff
from luthier.errors import DataError
from luthier.recipe.types import DataEntry


def load(folder: Path, name: str, content: str, **entry: Any) -> Source:
    (folder / name).write_bytes(content.encode())
    return read(DataEntry(path=name, **entry), folder)


def refusal(folder: Path, name: str, content: str, **entry: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, name, content, **entry)
    return str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = ["text;label", '"a, b | c\td; e";x', '"two\nlines, ""quoted""";y', "00123;z"]
    content = "\r\n".join(rows[:1] + rows[1:]).replace('";', f'"{delimiter}').replace("t;l", f"t{delimiter}l")
    source = load(tmp_path, "a.csv", content.replace("3;z", f"3{delimiter}z"))
    assert [(e.text, e.label) for e in source.examples] == [
        ("a, b | c\td; e", "x"),
        ('two\nlines, "quoted"', "y"),
        ("00123", "z"),
    ]
    assert [e.row_id for e in source.examples] == ["a.csv:1", "a.csv:2", "a.csv:3"]


def test_a_single_column_is_a_table(tmp_path: Path) -> None:
    assert sniff("text\nhello\nworld\n") == ","
    assert load(tmp_path, "a.csv", 'text\nhello\n"a, b"\n').examples[1].text == "a, b"


def test_tsv_never_splits_on_commas(tmp_path: Path) -> None:
    assert load(tmp_path, "a.tsv", "text\tlabel\na,b\tx\n").examples[0].text == "a,b"
    assert "fit no known type" in refusal(tmp_path, "b.tsv", "text,label\na,x\n")


def test_a_long_cell_is_read(tmp_path: Path) -> None:
    assert len(load(tmp_path, "a.csv", f"text,label\n{'x' * 200_000},y\n").examples[0].text or "") == 200_000


def test_nameless_empty_columns_are_dropped_and_noted(tmp_path: Path) -> None:
    source = load(tmp_path, "a.csv", "text,label,,\na,x,,\nb,y,,\n")
    assert source.notes == ("a.csv: dropped 2 empty columns without a name",)
    assert source.examples[1].extra == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "text,label\na,x\nb,y,z\nc\n",
            "a.csv:2 (line 3): 3 cells where the header has 2; the last is 'z' (1",
        ),
        ('text,label\n"a\nb",x\nc\n', "a.csv:2 (line 4): 1 cell where the header has 2"),
        ("# mine\ntext,label\na,x\n", "a.csv: header: it has 1 cell, and no row has as many: '# mine'"),
        ("sep=;\ntext;label\na;x\n", "a.csv: header: the first line is a note to Excel. Remove the line"),
        ("text^label\na^x\n", "the columns text^label fit no known type. The first line must name the columns"),
        (
            'text,label\na,x\n"b,y\nc,z\n',
            "a.csv:2 (line 3): a quote opens in this record and is never",
        ),
        ('text,label\n"a"b,x\n', "a.csv:1 (line 2): a quote inside a cell is not doubled"),
        ('"text"x,label\na,x\n', "a.csv: header: a quote inside a cell is not doubled"),
        ("text,text\na,x\n", "a.csv: header: the column name 'text' stands twice"),
        (",text,label\n0,a,x\n", "a.csv: header: column 1 has no name, but row 1 has '0' in it"),
        ("text,label,\na,x,\nb,y,z\n", "a.csv: header: column 3 has no name, but row 2 has 'z' in it"),
        ("text,label\na,x\nb,\n", "a.csv:2: the column 'label' is empty (null)"),
        ("text,label\na,x\n,y\n", "a.csv:2: the column 'text' is empty (null)"),
        ("text,label\n", "a.csv: the file has no rows"),
        ("", "a.csv: the file is empty"),
    ],
)
def test_faulty_tables(tmp_path: Path, content: str, words: str) -> None:
    assert words in refusal(tmp_path, "a.csv", content)


def test_nested_columns_do_not_fit_into_csv(tmp_path: Path) -> None:
    content = 'messages\n"[{""role"": ""user""}]"\n'
    message = refusal(tmp_path, "a.csv", content, type="chat")
    assert "a.csv:1: the column 'messages' must be a list, and is text" in message
    assert "use JSON Lines" in message


def write_parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_values_keep_their_kind(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1}]]
    at = pa.array([0], pa.timestamp("s"))
    write_parquet(tmp_path / "a.parquet", messages=turns, at=at, image=[b"\x00"], n=[7])
    source = read(DataEntry(path="a.parquet"), tmp_path)
    assert source.examples[0].messages == (
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "weight": 1},
    )
    assert source.examples[0].extra == {"at": "1970-01-01 00:00:00.000", "n": 7}
    assert source.notes == ("a.parquet: columns of bytes are left out: image",)


def test_columns_that_were_left_out_are_told_where_none_fits(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", text=[b"a"], label=["x"])
    with pytest.raises(DataError, match=r"label fit no known type; a\.parquet: columns of bytes are left out: text"):
        read(DataEntry(path="a.parquet"), tmp_path)


def test_parquet_nulls_and_kinds_are_checked(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", text=["a", None], label=[0, 1])
    with pytest.raises(DataError, match=r"a\.parquet:2: the column 'text' is empty \(null\)"):
        read(DataEntry(path="a.parquet"), tmp_path)


def test_faulty_parquet(tmp_path: Path) -> None:
    assert "not a whole Parquet file" in refusal(tmp_path, "a.parquet", "PAR1 no")
    write_parquet(tmp_path / "b.parquet", image=[b"\x00"])
    with pytest.raises(DataError, match="no column holds text"):
        read(DataEntry(path="b.parquet"), tmp_path)
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "c.parquet")
    with pytest.raises(DataError, match="'text' stands twice"):
        read(DataEntry(path="c.parquet"), tmp_path)
