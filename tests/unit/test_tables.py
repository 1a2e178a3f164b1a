"""Manifests: what they say of which file, and how it becomes classes and numbers."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import one_line, write_csv

from suffuse import tables
from suffuse.conditions import ClassLabel, Scalar
from suffuse.errors import ConfigError, DataError
from suffuse.tables import (
    Known,
    class_labels,
    column_names,
    condition_name,
    conditions_of,
    gaps_in,
    number_scale,
    parse_number,
    read_table,
    shorten,
)

HEADER = ["file", "kind", "mass in u"]
ROWS = [[f"{index}.xyz", "ab"[index % 2], index / 2] for index in range(6)]


# The file


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    lines = [json.dumps(dict(zip(HEADER, row, strict=True))) + "\n\n" for row in ROWS]
    (tmp_path / "m.jsonl").write_text("".join(lines))
    for path in (write_csv(tmp_path / "m.csv", HEADER, *ROWS), tmp_path / "m.jsonl"):
        table = read_table(path, None)
        assert (table.file_column, table.columns, table.labels) == ("file", tuple(HEADER), ("kind", "mass in u"))
        assert [list(row.values()) for row in table.rows.values()] == [[str(cell) for cell in row] for row in ROWS]
        assert read_table(path, "mass in u").labels == ("file", "kind")


def test_a_gap_is_empty(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file,kind,mass\n0.xyz\n1.xyz, a ,,more\n")
    (tmp_path / "m.jsonl").write_text('{"file": "0.xyz"}\n{"file": "1.xyz", "kind": " a ", "mass": null}\n')
    for name in ("m.csv", "m.jsonl"):
        rows = read_table(tmp_path / name, None).rows
        assert list(rows.values()) == [
            {"file": "0.xyz", "kind": "", "mass": ""},
            {"file": "1.xyz", "kind": "a", "mass": ""},
        ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"", "a header with a column of file names and one of labels is needed"),
        ("m.csv", b"file\n0.xyz\n", "a header with a column of file names"),
        ("m.csv", b"file,kind\n0.xyz,a\n./0.xyz,b\n", r"'0\.xyz' has two rows"),
        ("m.csv", b"file,kind\n0.xyz,caf\xe9\n", "not a CSV file in UTF-8"),
        ("m.jsonl", b"", "a row with a column of file names"),
        ("m.jsonl", b'{"file": "caf\xe9"}', "not a JSONL file in UTF-8"),
        ("m.jsonl", b'{"file": "0.xyz", "kind": "a"}\n{"file"', "line 2 is not JSON"),
        ("m.jsonl", b"[1, 2]\n", "line 1 is not an object"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_table(tmp_path / name, None)
    assert str(tmp_path / name) in one_line(error)


def test_a_missing_file_or_column_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.labels=.*none\.csv: no such file$"):
        read_table(tmp_path / "none.csv", None)
    path = write_csv(tmp_path / "m.csv", HEADER, *ROWS)
    message = r"=knid: .*m\.csv has no such column; it has file, kind, mass in u; did you mean 'kind'\?$"
    with pytest.raises(ConfigError, match=r"^data\.file_column" + message):
        read_table(path, "knid")
    with pytest.raises(ConfigError, match=r"^data\.group" + message):
        read_table(path, None).check(["kind", "knid"], "group")


# Its rows and the files


def kinds(tmp_path: Path, names: list[str], rows: dict[str, str], shared: str = "") -> list[str | None]:
    path = write_csv(tmp_path / "m.csv", ["\ufefffile", "kind"], *map(list, rows.items()))
    return [row.get("kind") for row in read_table(path, None).align(names, shared, "molecule")[0]]


def test_names_match_however_they_are_written(tmp_path: Path) -> None:
    names = ["p/q/a.xyz", "p/b.xyz", f"p/{unicodedata.normalize('NFD', 'é')}.xyz", "p/none.xyz"]
    rows = {"q\\a.xyz": "1", "./p/b.xyz": "2", f"{unicodedata.normalize('NFC', 'é')}.xyz": "3"}
    assert kinds(tmp_path, names, rows, "p/") == ["1", "2", "3", None]


def test_names_that_are_taken_as_they_are_written_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_normal", lambda name: name)
    assert kinds(tmp_path, ["a.xyz", "é.xyz"], {"./a.xyz": "1", "é.xyz": "2"}) == [None, "2"]


def test_rows_for_unknown_files_are_counted(tmp_path: Path) -> None:
    table = read_table(write_csv(tmp_path / "m.csv", HEADER, *ROWS), None)
    assert table.align([f"{index}.xyz" for index in range(6)], "", "molecule")[1] == []
    _, (notice,) = table.align(["0.xyz", "9.xyz"], "", "molecule")
    assert notice.endswith("m.csv: 5 rows name no molecule and are left out: '1.xyz', '2.xyz', '3.xyz', …")


def test_rows_that_fit_no_file_are_an_error(tmp_path: Path) -> None:
    table = read_table(write_csv(tmp_path / "m.csv", HEADER, *ROWS), None)
    message = r"no row names a molecule \(its first row names '0\.xyz', the first molecule is 'x\.xyz'\)"
    with pytest.raises(DataError, match=message):
        table.align(["x.xyz"], "", "molecule")
    (tmp_path / "m.csv").write_text("file,kind\n")
    with pytest.raises(DataError, match="it has no rows"):
        read_table(tmp_path / "m.csv", None).align(["x.xyz"], "", "molecule")


# Classes and numbers


def test_classes_are_in_order_and_gaps_are_none() -> None:
    for texts, ordered in (
        (["10", "2", "", "-1", None, "2"], ("-1", "2", "10")),
        (["b", "10", None, "2", "a"], ("10", "2", "a", "b")),
        (["", None], ()),
    ):
        kind, places = class_labels(texts)
        assert kind == ClassLabel(ordered)
        assert [None if place is None else ordered[place] for place in places] == [text or None for text in texts]


def test_a_number_is_one_or_missing() -> None:
    assert [parse_number(text, "x") for text in ("1.5", "-2e3", "", "NaN", "na", None)] == [1.5, -2000, *[None] * 4]
    for text in ("old", "inf", "1,5", "1 2"):
        with pytest.raises(DataError, match=rf"^age of 'a' is '{text}', not a number$"):
            parse_number(text, "age of 'a'")


def test_numbers_are_standardised_on_what_is_known() -> None:
    values = [1.0, None, 3.0, 100.0]
    assert number_scale(values, np.array([0, 1, 2])) == Scalar(mean=2, std=1)
    assert number_scale(values, np.array([3])) == Scalar(mean=100, std=1)
    assert number_scale(values, np.array([1])) == Scalar()


def measured(train: list[int], known: Sequence[Known], classes: tuple[str, ...] = (), number: str = "mass") -> Any:
    names = [f"{index}.xyz" for index in range(len(known))]
    return conditions_of(known, classes, (number,), np.array(train), names=names, origin="m.csv", what="molecule")


def test_columns_become_conditions_of_the_training_part() -> None:
    known = [{"kind": "b", "mass": "1"}, {"mass": "3"}, {}, {"kind": "a", "mass": "50"}]
    conditions, columns = measured([0, 1, 2], known, ("kind",))
    assert conditions == {"kind": ClassLabel(("a", "b")), "mass": Scalar(mean=2, std=1)}
    assert columns == {"kind": [1, None, None, 0], "mass": [1, 3, None, 50]}
    assert gaps_in(columns, np.array([0, 1, 2]), "p") == [
        "p: 2 of 3 have no 'kind', 1 of 3 have no 'mass'; they train without it"
    ]
    assert gaps_in(columns, np.array([0, 3]), "p") == []


def test_a_scale_that_has_seen_what_is_held_out_is_noticed() -> None:
    known = [{"mass": "1"}, {"mass": "3"}, {"mass": "50"}]
    assert measured([0, 1, 2], known) != measured([0, 1], known)


def test_columns_that_cannot_be_conditions_are_told() -> None:
    with pytest.raises(DataError, match=r"^m\.csv: the column mass is empty for every molecule$"):
        measured([0], [{"kind": "a", "mass": ""}])
    with pytest.raises(DataError, match=r"^m\.csv: mass of '1\.xyz' is 'heavy', not a number$"):
        measured([0], [{"mass": "1"}, {"mass": "heavy"}])
    with pytest.raises(ConfigError, match="two conditions of one name: a_b, a_b"):
        measured([0], [{"a b": "1", "a-b": "1"}], ("a b",), "a-b")


def test_names_are_made_fit_for_the_command_line_and_for_one_line() -> None:
    assert [condition_name(text) for text in ("size in cm", " a-b ", "größe", "?")] == [
        "size_in_cm",
        "a_b",
        "größe",
        "label",
    ]
    assert column_names("kind") == column_names(["kind"]) == ("kind",)
    assert shorten(["a", "b\n"], 2) == "'a', 'b\\n'"
    assert shorten(["a", "b", "c"], 2) == "'a', 'b', …"
