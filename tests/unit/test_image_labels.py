"""What is known of the pictures of a folder: subfolders, CSV files, archives."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import by_colour, coloured, everything, plain, size, tree, write_csv

from suffuse.conditions import ClassLabel, Scalar
from suffuse.errors import ConfigError, DataError
from suffuse_image.data import Folder

# What is known of a picture


def test_the_top_subfolder_is_the_class(tmp_path: Path) -> None:
    plain(tmp_path / "cat" / "tabby" / "a.png", 1, "L")
    plain(tmp_path / "dog" / "b.png", 2, "L")
    source = Folder(path=tmp_path, size=8, mode="grey")
    assert source.train.conditions == {"label": ClassLabel(("cat", "dog"))}
    assert {int(i.value[0, 0, 0]): i.condition["label"] for i in everything(source)} == {1: 0, 2: 1}


def test_a_flat_folder_has_no_classes_and_a_shared_folder_is_passed_through(tmp_path: Path) -> None:
    assert Folder(path=tree(tmp_path / "flat", classes=()), size=6).train.conditions == {}
    tree(tmp_path / "outer" / "inner")
    assert Folder(path=tmp_path / "outer", size=6).train.conditions == {"label": ClassLabel(("cat", "dog"))}


def test_pictures_beside_the_class_folders_have_no_class(tmp_path: Path) -> None:
    plain(tree(tmp_path) / "stray.png", (1, 2, 3))
    with pytest.warns(UserWarning, match="1 of 13 have no 'label'"):
        source = Folder(path=tmp_path, size=6)
    assert sum("label" not in item.condition for item in everything(source)) == 1


def test_csv_columns_become_classes_and_numbers(tmp_path: Path) -> None:
    rows = [[f"{index}.png", "odd" if index % 2 else "even", index / 2, "x"] for index in range(10)]
    table = write_csv(tmp_path / "labels.csv", ["file", "kind", "size in cm", "other"], *rows)
    source = Folder(
        path=coloured(tmp_path / "p"), size=8, mode="grey", labels=table, classes=["kind"], numbers=["size in cm"]
    )
    assert list(source.train.conditions) == ["kind", "size_in_cm"]
    known = by_colour(source)
    assert all(known[index] == {"kind": index % 2, "size_in_cm": index / 2} for index in range(10))
    trained = [source.train[index].condition["size_in_cm"] for index in range(len(source.train))]
    assert source.train.conditions["size_in_cm"] == Scalar(mean=float(np.mean(trained)), std=float(np.std(trained)))
    assert list(Folder(path=tmp_path / "p", size=8, labels=table).train.conditions) == ["kind"]


def test_a_gap_in_a_column_is_missing_and_counted(tmp_path: Path) -> None:
    rows = [[f"{index}.png", "" if index == 3 else "a", "" if index in (3, 4) else 1.5] for index in range(9)]
    table = write_csv(tmp_path / "labels.csv", ["file", "kind", "age"], *rows)
    with pytest.warns(UserWarning, match="they train without it") as seen:
        source = Folder(path=coloured(tmp_path / "p"), size=8, mode="grey", labels=table, classes="kind", numbers="age")
    assert [str(warning.message).split(": ", 1)[1] for warning in seen] == [
        "2 of 10 have no 'kind', 3 of 10 have no 'age'; they train without it"
    ]
    known = by_colour(source)
    assert known[3] == {}
    assert known[9] == {}
    assert known[4] == {"kind": 0}
    batch = source.train.gather(range(len(source.train)))
    missing = sum("age" not in source.train[index].condition for index in range(len(source.train)))
    assert int(batch.conditions["age"].isnan().sum()) == missing


def test_a_row_for_an_unknown_file_is_left_out_with_a_warning(tmp_path: Path) -> None:
    rows = [[f"{index}.png", "a"] for index in range(10)]
    table = write_csv(tmp_path / "labels.csv", ["file", "kind"], *rows, ["gone.png", "b"])
    with pytest.warns(UserWarning, match=r"labels\.csv: 1 rows? .*'gone\.png'"):
        Folder(path=coloured(tmp_path / "p"), size=8, labels=table)


def test_a_missing_column_is_answered_with_those_there_are(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "labels.csv", ["file", "kind", "age"], *[[f"{i}.png", "a", 1] for i in range(10)])
    coloured(tmp_path / "p")
    for key, value in (
        ("classes", "knid"),
        ("numbers", "knid"),
        ("file_column", "knid"),
        ("group", "knid"),
        ("only", {"knid": 1}),
    ):
        with pytest.raises(ConfigError, match=rf"data\.{key}=knid: .* it has file, kind, age; did you mean 'kind'"):
            Folder(path=tmp_path / "p", size=8, labels=table, **{key: value})


def test_only_and_group(tmp_path: Path) -> None:
    rows = [[f"{index}.png", index // 4, index % 2] for index in range(40)]
    table = write_csv(tmp_path / "labels.csv", ["file", "family", "base"], *rows)
    coloured(tmp_path / "p", 40)
    chosen = Folder(path=tmp_path / "p", size=8, mode="grey", labels=table, only={"base": 1})
    assert sorted(by_colour(chosen)) == list(range(1, 40, 2))
    grouped = Folder(path=tmp_path / "p", size=8, mode="grey", labels=table, group="family", heldout=0.3)
    families = [{item.condition["family"] for item in split} for split in (grouped.train, grouped.heldout)]  # type: ignore[attr-defined]
    assert families[0].isdisjoint(families[1])
    assert families[1]
    with pytest.raises(DataError, match=r"no picture has \{'base': 7\}"):
        Folder(path=tmp_path / "p", size=8, labels=table, only={"base": 7})


# Archives


def archive(root: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as stream:
        for file in sorted(root.rglob("*.png")):
            stream.write(file, prefix + file.relative_to(root).as_posix())
        stream.writestr("__MACOSX/._0.png", b"rubbish")
    return path


@pytest.mark.parametrize("cache", ["always", "never"])
def test_a_zip_is_read_like_a_folder(tmp_path: Path, cache: str) -> None:
    tree(tmp_path / "p")
    packed = Folder(path=archive(tmp_path / "p", tmp_path / "p.zip"), size=6, cache=cache)
    unpacked = Folder(path=tmp_path / "p", size=6)
    assert packed.train.conditions == unpacked.train.conditions
    for a, b in zip(everything(packed), everything(unpacked), strict=True):
        assert np.array_equal(a.value, b.value)
        assert a.condition == b.condition


def test_rows_may_leave_out_the_folder_that_all_share(tmp_path: Path) -> None:
    packed = archive(coloured(tmp_path / "p"), tmp_path / "p.zip", "emoji/64/")
    table = write_csv(tmp_path / "labels.csv", ["file", "kind"], *[[f"{i}.png", i] for i in range(10)])
    known = by_colour(Folder(path=packed, size=8, mode="grey", labels=table))
    assert known == {index: {"kind": index} for index in range(10)}


def test_a_lazy_archive_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    split = Folder(path=archive(tree(tmp_path / "p"), tmp_path / "p.zip"), size=6, cache="never", flip=True).train
    copy = pickle.loads(pickle.dumps(split))
    assert torch.equal(copy.gather([0, 1, 2]).values, split.gather([0, 1, 2]).values)


def test_a_damaged_member_is_left_out(tmp_path: Path) -> None:
    path = archive(tree(tmp_path / "p", 20), tmp_path / "p.zip")
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"1 of 20 pictures are bad.*p\.zip"):
        assert sum(size(Folder(path=path, size=6))) == 19
