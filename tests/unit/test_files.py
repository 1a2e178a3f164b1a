"""Files of a folder or a zip archive: which there are, what is in them, and what is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from suffuse.errors import DataError
from suffuse.files import Archive, Files, cache_folder, common_folder, open_files, top_folder, whole_folder

SUFFIXES = frozenset({".xyz", ".mol"})
WANTED = ["a/b/c.xyz", "a/é 猫.mol", "z.XYZ"]
OTHERS = ["readme.txt", ".hidden.xyz", "a/.git/x.xyz", "__MACOSX/z.xyz", "xyz"]


def folder(root: Path) -> Path:
    for name in (*WANTED, *OTHERS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    return root


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        for name in (*WANTED, *OTHERS):
            stream.writestr(name, name)
    return path


def opened(path: Path, most_bytes: int = 1 << 20) -> Files:
    return open_files(path, SUFFIXES, "molecule", most_bytes)


@pytest.fixture(params=["folder", "archive"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return folder(tmp_path / "p") if request.param == "folder" else archive(tmp_path / "p.zip")


def content(files: Files, name: str) -> bytes:
    place = files.place(name)
    if isinstance(place, str | bytes):
        with open(place, "rb") as stream:
            return stream.read()
    return place.read()


def test_a_folder_and_an_archive_hold_the_same(path: Path) -> None:
    files = opened(path)
    assert files.names == WANTED
    assert all(files.read(name) == content(files, name) == name.encode() for name in WANTED)


def test_a_copy_by_pickle_reads_the_same(path: Path) -> None:
    files = opened(path)
    files.read("z.XYZ")
    copy = pickle.loads(pickle.dumps(files))
    assert copy.names == WANTED
    assert copy.read("z.XYZ") == b"z.XYZ"


def test_threads_do_not_disturb_each_other(path: Path) -> None:
    files = opened(path)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(files.read, WANTED * 100)) == [name.encode() for name in WANTED] * 100


def test_a_process_does_not_use_the_handle_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Archive(archive(tmp_path / "p.zip"), SUFFIXES, "molecule")
    files._zip().close()
    with pytest.raises(DataError, match=r"'z\.XYZ' cannot be read from p\.zip"):  # so its use would be noticed
        files.read("z.XYZ")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert files.read("z.XYZ") == b"z.XYZ"


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    root = folder(tmp_path / "p")
    (root / "file.xyz").symlink_to(root / "readme.txt")
    (root / "loop").symlink_to(root)
    (root / "gone.xyz").symlink_to(root / "nowhere")
    assert opened(root).names == sorted([*WANTED, "file.xyz"])


def test_a_stamp_changes_with_the_file_alone(path: Path) -> None:
    before = [opened(path).stamp(name) for name in WANTED]
    assert [opened(path).stamp(name) for name in WANTED] == before
    if path.is_dir():
        (path / "z.XYZ").write_text("z.xyz and more")
    else:
        with zipfile.ZipFile(path, "w") as stream:
            stream.writestr("z.XYZ", "z.xyz")
    assert opened(path).stamp("z.XYZ") != before[-1]


def test_what_is_too_large_is_not_read_and_a_folder_still_has_its_place(path: Path) -> None:
    assert opened(path, 5).read("z.XYZ") == b"z.XYZ"
    files = opened(path, 4)
    with pytest.raises(DataError, match=r"^'z\.XYZ' .* 5 bytes.* a molecule"):
        files.read("z.XYZ")
    if path.is_dir():
        assert content(files, "z.XYZ") == b"z.XYZ"
    else:
        with pytest.raises(DataError, match="5 bytes"):
            files.place("z.XYZ")


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    files = opened(folder(tmp_path))
    (tmp_path / "z.XYZ").unlink()
    for use in (files.read, files.stamp):
        with pytest.raises(DataError, match=r"^'z\.XYZ' cannot be read \(No such file"):
            use("z.XYZ")


def test_a_damaged_member_is_named_and_a_damaged_archive_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "p.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"a/b/c.xyz") + len("a/b/c.xyz")] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^'a/b/c\.xyz' cannot be read from p\.zip"):
        opened(path).read("a/b/c.xyz")
    entry = data.index(b"PK\x01\x02")
    data[entry : entry + 4] = b"XXXX"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^data\.path=.*p\.zip: a damaged zip archive"):
        opened(path)


def test_what_holds_no_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("none here")
    (tmp_path / ".hidden.xyz").write_text("no")
    for name, message in (
        ("", r"no molecules in it \(looked for \.mol, \.xyz at every depth\)"),
        ("none", "no such folder or zip archive"),
        ("readme.txt", "neither a folder nor a zip archive"),
    ):
        with pytest.raises(DataError, match=rf"^data\.path=.*: {message}$"):
            opened(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "shared", "top"),
    [
        (["a.xyz", "b.xyz"], "", ["", ""]),
        (["a/1.xyz", "b/2.xyz"], "", ["a", "b"]),
        (["p/a/1.xyz", "p/b/c/2.xyz"], "p/", ["a", "b"]),
        (["p/q/1.xyz", "p/q/2.xyz"], "p/q/", ["", ""]),
        (["ab/1.xyz", "ac/2.xyz"], "", ["ab", "ac"]),
        (["p/1.xyz", "p/a/2.xyz"], "p/", ["", "a"]),
    ],
)
def test_the_shared_folder_and_the_one_below_it(names: list[str], shared: str, top: list[str]) -> None:
    assert common_folder(names) == shared
    assert [top_folder(name, shared) for name in names] == top


def test_looking_for_files_loads_no_torch() -> None:
    code = "import sys, suffuse.files, suffuse.splits; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_caches_lie_where_the_user_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder("sound") == tmp_path / "caches" / "suffuse" / "sound"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("sound") == tmp_path / ".cache" / "suffuse" / "sound"


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "caches" / "key"
    with pytest.raises(IsADirectoryError), whole_folder(place) as draft:
        draft.write_text("half")
    assert list(place.parent.iterdir()) == []
    for name in ("first", "second"):
        with whole_folder(place) as draft:
            (draft / name).touch()
            assert not (place / name).exists()
        assert [path.name for path in place.iterdir()] == [name], "what was there goes"
    assert list(place.parent.iterdir()) == [place]


def test_the_folder_of_a_faster_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "key"
    monkeypatch.setattr("suffuse.files.shutil.rmtree", lambda *args, **settings: None)
    with whole_folder(place) as draft:
        (draft / "slower").touch()
        place.mkdir()
        (place / "faster").touch()
    assert [path.name for path in place.iterdir()] == ["faster"]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), whole_folder(tmp_path / "file" / "key"):
        pass
