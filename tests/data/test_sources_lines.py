"""JSON Lines, JSON and plain text: what is read, and how faults are named."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from luthier.data.sources import Source, read
from luthier.data.sources.encoding import likely_encoding
from luthier.data.sources.jsonl import read_jsonl
from luthier.errors import DataError
from luthier.recipe.types import DataEntry

ROW = '{"prompt": "a", "completion": "b"}'


def load(folder: Path, name: str, content: str | bytes) -> Source:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read(DataEntry(path=name), folder)


def refusal(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, name, content)
    return str(caught.value)


def test_jsonl_rows_are_numbered_by_line(tmp_path: Path) -> None:
    source = load(tmp_path, "a.jsonl", f"{ROW}\n\n{ROW}\r\n")
    assert [example.row_id for example in source.examples] == ["a.jsonl:1", "a.jsonl:3"]
    assert (source.rows, source.detected, source.files) == (2, "prompt_completion", ("a.jsonl",))


def test_line_separators_inside_a_string_are_no_line_ends(tmp_path: Path) -> None:
    source = load(tmp_path, "a.jsonl", '{"text": "one\u2028two\u0085three"}\n')
    assert source.examples[0].text == "one\u2028two\u0085three"


def test_a_key_first_seen_in_the_last_row_is_read(tmp_path: Path) -> None:
    rows = ROW + "\n" + '{"prompt": "a", "completion": "b", "system": "s", "seen": 1}'
    first, last = load(tmp_path, "a.jsonl", (ROW + "\n") * 300 + rows).examples[-2:]
    assert first.messages is None
    assert last.messages is not None
    assert last.messages[0] == {"role": "system", "content": "s"}
    assert last.extra == {"seen": 1}


def test_free_objects_are_kept_as_they_are(tmp_path: Path) -> None:
    rows = '{"text": "a", "x": {"p": 1}}\n{"text": "b", "x": {"q": [2]}}\n{"text": "c", "x": "00123"}'
    assert [e.extra["x"] for e in load(tmp_path, "a.jsonl", rows).examples] == [{"p": 1}, {"q": [2]}, "00123"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "a", "completion": ', "broken JSON"),
        ('{"prompt": "a"} {"completion": "b"}', "Extra data at column 17"),
        ('["a", "b"]', "the row is a list, not an object"),
        ("null", "the row is a null, not an object"),
        ("{}", "the row has no columns"),
        ('{"prompt": "a", "completion": NaN}', "NaN is not JSON"),
        (r'{"prompt": "a", "completion": "\ud83d"}', "half a surrogate pair"),
        ('{"prompt": "a", "completion": null}', "'completion' is empty (null)"),
        ('{"prompt": "a"}', "'completion' is missing (the row has 'prompt')"),
        ('{"prompt": "a", "completion": 7}', "'completion' must be text, and is a number: 7"),
        ('{"prompt": "a", "completion": ["b"]}', "'completion' must be text, and is a list"),
        ('{"prompt": "a", "completion": "b", "prompt": "c"}', "the key 'prompt' stands twice in one object"),
        ('{"prompt": "a", "completion": {"x": 1, "x": 2}}', "the key 'x' stands twice"),
        (f'{{"prompt": "a", "completion": {"9" * 5000}}}', "a number has too many digits"),
        (f'{{"prompt": "a", "completion": {"[" * 9999}{"]" * 9999}}}', "nested too deeply"),
        ('{"prompt": "a\tb"}', "broken JSON: Invalid control character at column 14"),
    ],
)
def test_a_faulty_line_is_named_and_further_ones_counted(tmp_path: Path, line: str, words: str) -> None:
    message = refusal(tmp_path, "a.jsonl", "\n".join([ROW, line, ROW, line, line]))
    assert message.startswith("a.jsonl:2: ")
    assert words in message
    assert "2 more rows have a fault" in message


@pytest.mark.parametrize("content", [f"[{ROW}, {ROW}]", f"[\n  {ROW}\n]\n"])
def test_a_list_in_a_file_of_lines_should_be_called_json(tmp_path: Path, content: str) -> None:
    assert "one JSON list must have a name that ends in .json" in refusal(tmp_path, "a.jsonl", content)


def test_pairs_of_surrogates_are_one_character(tmp_path: Path) -> None:
    assert load(tmp_path, "a.jsonl", r'{"text": "\ud83d\ude00"}').examples[0].text == "😀"


@pytest.mark.parametrize(("content", "words"), [("", "the file is empty"), ("\n \n", "the file has no rows")])
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_no_rows(tmp_path: Path, name: str, content: str, words: str) -> None:
    assert f"{name}: {words}" in refusal(tmp_path, name, content)


def test_json_list_and_object_with_one_list(tmp_path: Path) -> None:
    plain = load(tmp_path, "a.json", f"[{ROW},\n{ROW}]")
    inside = load(tmp_path, "b.json", f'{{"version": 1, "data": [{ROW}]}}')
    assert [example.row_id for example in plain.examples] == ["a.json:1", "a.json:2"]
    assert inside.notes == ("b.json: the rows are in 'data'; not used: version",)


def test_json_that_holds_lines_is_read_and_noted(tmp_path: Path) -> None:
    source = load(tmp_path, "a.json", f"{ROW}\n{ROW}\n")
    assert source.rows == 2
    assert "holds JSON Lines" in source.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f'{{"a": [{ROW}], "b": []}}', "a.json: the file holds an object with 2 lists"),
        ("7", "a.json: the file holds a number"),
        ("[]", "a.json: the file has no rows"),
        (f"[{ROW}, 3]", "a.json:2: the row is a number"),
        (f"[{ROW},\n {ROW[:-1]}]", "a.json: line 2, column 35: broken JSON"),
        ('[{"text": Infinity}]', "a.json: Infinity is not JSON"),
        ('[{"text": "a", "text": "b"}]', "a.json: the key 'text' stands twice"),
        ("[" * 99999, "a.json: lists or objects are nested too deeply"),
        ("  ", "a.json: line 1, column 3: broken JSON"),
    ],
)
def test_faulty_json(tmp_path: Path, content: str, words: str) -> None:
    assert words in refusal(tmp_path, "a.json", content)


def test_text_rows_are_blocks_between_blank_lines(tmp_path: Path) -> None:
    source = load(tmp_path, "a.txt", "\n = Title = \n \nOne\ntwo.\n\n\nThree.")
    assert [(e.row_id, e.text) for e in source.examples] == [
        ("a.txt:2", "= Title ="),
        ("a.txt:4", "One\ntwo."),
        ("a.txt:8", "Three."),
    ]
    assert source.detected == "text"


def test_gzip_is_unpacked_and_a_broken_one_refused(tmp_path: Path) -> None:
    packed = gzip.compress(ROW.encode())
    assert load(tmp_path, "a.jsonl.gz", packed).examples[0].row_id == "a.jsonl.gz:1"
    assert "b.jsonl.gz: not a whole gzip file" in refusal(tmp_path, "b.jsonl.gz", packed[:-9])
    assert "c.jsonl.gz: not a whole gzip file" in refusal(tmp_path, "c.jsonl.gz", b"plain")


def test_a_byte_order_mark_is_removed_and_noted(tmp_path: Path) -> None:
    source = load(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + ROW.encode())
    assert source.examples[0].prompt == "a"
    assert "byte order mark" in source.notes[0]


def test_other_encodings_are_refused_with_place_and_command(tmp_path: Path) -> None:
    text = '{"text": "first"}\n{"text": "my sister’s café"}\n'
    message = refusal(tmp_path, "my rows.jsonl", text.encode("mac_roman"))
    assert "line 2, byte 20 of the line (byte 38 of the file): not UTF-8 text (0xd5)" in message
    assert "looks like mac_roman" in message
    assert f"iconv -f MACINTOSH -t UTF-8 '{tmp_path}/my rows.jsonl' > 'my rows-utf8.jsonl'" in message
    assert "gunzip -c" in refusal(tmp_path, "a.jsonl.gz", gzip.compress(text.encode("cp1252")))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("l’été à Zürich – “oui”", "cp1252"),
        ("l’été à Zürich – “oui”", "mac_roman"),
        ("naïve café, über", "cp1252"),
        ("naïve café, über", "mac_roman"),
        ("my sister’s", "cp1252"),
        ("my sister’s", "mac_roman"),
        ("plain", "utf-16"),
    ],
)
def test_likely_encoding(text: str, encoding: str) -> None:
    assert likely_encoding(text.encode(encoding)) == encoding


def test_bytes_that_are_no_text_have_no_likely_encoding(tmp_path: Path) -> None:
    assert likely_encoding(bytes(range(128, 256))) is None
    message = refusal(tmp_path, "a.txt", b"ab\n\0cd")
    assert "line 2, byte 1 of the line (byte 4 of the file): a zero byte, which no text holds" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(ROW.encode(), mtime=0), "this is a gzip file, not text. Give it a name that ends in .gz"),
        (b"PK\x03\x04\x14\0", "a zip archive or an Excel file"),
        (b"PAR1\x15\0", "this is a Parquet file"),
        (ROW.encode("utf-32"), "it looks like utf-32. Convert it: iconv -f UTF-32"),
    ],
)
def test_other_kinds_of_files_are_known_by_how_they_begin(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, "a.jsonl", content)


def test_many_rows_are_read_fast(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "%s", "completion": "b"}\n' % ("x" * 165) * 20_000)
    start = time.process_time()
    read_jsonl(tmp_path / "a.jsonl", "a.jsonl")
    assert time.process_time() - start < 1
