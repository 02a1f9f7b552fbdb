"""What `include`, `exclude` and the built-in excludes take and turn away."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from pixstored.errors import ConfigError
from pixstored.watch.builtin import HIDDEN, SETS, SYSTEM, UNFINISHED
from pixstored.watch.filters import Rules, _built_in, unfinished_sibling


def rules(*include: str, exclude: tuple[str, ...] = (), exclude_defaults: bool = True) -> Rules:
    return Rules(include or ("@media",), exclude, exclude_defaults=exclude_defaults)


EVERYTHING = rules("*")
"""Includes all, so that only the built-in excludes turn away."""

TURNED_AWAY = {
    ".*": [".IMG_1.jpg", "a/.thumbs/b.jpg", ".Trash-1000/a.jpg"],
    "*.part": ["a.jpg.part", "a.PART"],
    "*.partial": ["a.partial"],
    "*.filepart": ["a.filepart"],
    "*.crdownload": ["a.jpg.crdownload"],
    "*.crswap": ["a.crswap"],
    "*.download": ["a.download"],
    "*.tmp": ["a.tmp", "x/a.jpg.TMP"],
    "*.temp": ["a.temp"],
    "*.temp.*": ["a.temp.jpg"],
    "*.!sync": ["a.!sync"],
    "*.!qB": ["a.mkv.!qB"],
    "*.!ut": ["a.!ut"],
    "*.aria2": ["a.jpg.aria2"],
    "*.ocTransferId*": ["a.jpg.ocTransferId1234.part", "a.octransferid9"],
    "~syncthing~*": ["~syncthing~a.jpg.tmp", "~syncthing~a.jpg"],
    "~$*": ["~$a.jpg"],
    "*~": ["a.jpg~"],
    "*.sw[opx]": ["a.swp", "a.swo", "a.swx"],
    "*_exiftool_tmp": ["a.jpg_exiftool_tmp"],
    "*_original": ["a.jpg_original"],
    "tmpfile??????": ["tmpfileAb12_x"],
    "*.sync-conflict-*": ["a.sync-conflict-20240101-120000-ABCDEFG.jpg"],
    "*_conflict-*": ["a_conflict-20240101-120000.jpg"],
    "*conflicted copy*": ["a (Ann's conflicted copy 2024-01-01).jpg"],
    "@eaDir/": ["@eaDir/a.jpg/b.jpg", "x/@eaDir/a.jpg"],
    "#recycle/": ["#recycle/a.jpg", "x/#Recycle/a.jpg"],
    "#snapshot/": ["#snapshot/2024/a.jpg"],
    "@tmp/": ["@tmp/a.jpg"],
    "@sharebin/": ["@sharebin/a.jpg"],
    "@SynoResource/": ["x/@SynoResource/a.jpg"],
    "@SynologyCloudSync/": ["@SynologyCloudSync/a.jpg"],
    "SYNOFILE_THUMB*": ["SYNOFILE_THUMB_M.jpg", "SYNOFILE_THUMBS/a.jpg"],
    "SYNOPHOTO_THUMB*": ["SYNOPHOTO_THUMB_XL.jpg"],
    "SYNOPHOTO_FILM*": ["SYNOPHOTO_FILM_M.mp4"],
    "SYNOVIDEO_THUMB*": ["SYNOVIDEO_THUMB.jpg"],
    "@Recycle/": ["@Recycle/a.jpg"],
    "@Recently-Snapshot/": ["@Recently-Snapshot/a.jpg"],
    "@Transcode/": ["@Transcode/a.mp4"],
    "@__thumb/": ["x/@__thumb/a.jpg"],
    "~snapshot/": ["~snapshot/a.jpg"],
    "$RECYCLE.BIN/": ["$Recycle.Bin/S-1-5/a.jpg"],
    "RECYCLER/": ["RECYCLER/a.jpg"],
    "System Volume Information/": ["System Volume Information/a.jpg"],
    "Thumbs.db": ["thumbs.db", "x/Thumbs.db"],
    "ehthumbs.db": ["ehthumbs.db"],
    "Network Trash Folder/": ["Network Trash Folder/a.jpg"],
    "Temporary Items/": ["x/Temporary Items/a.jpg"],
    "lost+found/": ["lost+found/a.jpg"],
    "*.lrdata/": ["Cat Previews.lrdata/0/a.jpg"],
    "*.lrcat-data/": ["Cat.lrcat-data/a.jpg"],
    "Lightroom Catalog/": ["Lightroom Catalog/a.jpg"],
    "CaptureOne/": ["shoot/CaptureOne/Cache/a.jpg"],
    "*.photoslibrary/": ["Photos Library.photoslibrary/originals/0/a.jpg"],
    "*.aplibrary/": ["A.aplibrary/a.jpg"],
    "*.cocatalog/": ["A.cocatalog/a.jpg"],
    "Recently Deleted/": ["Recently Deleted/a.jpg"],
    "M4ROOT/THMBNL/": ["PRIVATE/M4ROOT/THMBNL/C0001T01.JPG", "M4ROOT/THMBNL/a.jpg"],
    "M4ROOT/SUB/": ["card/PRIVATE/M4ROOT/SUB/C0001S03.MP4"],
    "AVF_INFO/": ["AVF_INFO/a.jpg"],
    "CANONMSC/": ["DCIM/CANONMSC/a.jpg"],
    "MISC/THM/": ["MISC/THM/100/a.jpg"],
}


@pytest.mark.parametrize("pattern", [*HIDDEN, *UNFINISHED, *SYSTEM])
def test_each_built_in_pattern_turns_away_what_it_says_and_is_named(pattern: str) -> None:
    for path in TURNED_AWAY[pattern]:
        verdict = EVERYTHING.verdict(path)
        assert not verdict.taken
        assert "the built-in pattern" in verdict.reason
        assert not EVERYTHING.takes(path)


@pytest.mark.parametrize("pattern", [*HIDDEN, *UNFINISHED, *SYSTEM])
def test_each_built_in_pattern_means_what_pathspec_reads_in_it(pattern: str) -> None:
    written = pattern.lower().replace("#", "\\#")
    spec = GitIgnoreSpec.from_lines([f"**/{written}" if "/" in written.rstrip("/") else written])
    built_in = next(each for each in _built_in() if each.shown == pattern)
    for path in itertools.chain(*TURNED_AWAY.values()):
        assert (built_in.regex.match(path.lower()) is not None) == spec.match_file(path.lower())


def test_the_table_above_has_all_built_in_patterns() -> None:
    assert set(TURNED_AWAY) == {*HIDDEN, *UNFINISHED, *SYSTEM}


@pytest.mark.parametrize(
    "path",
    [
        "_DSC0001.JPG",
        "_edited/_MG_0001.jpg",
        "IMG_00~1.JPG",
        "#1 at the beach.jpg",
        "#holiday/a.jpg",
        "tmp/a.jpg",
        "cache/a.jpg",
        "thumbnails/a.jpg",
        "M4ROOT/CLIP/C0001.MP4",
        "SUB/a.jpg",
        "THM/a.jpg",
        "recycle/a.jpg",
        "Thumbs.db.jpg",
        "tmpfile.jpg",
        "original.jpg",
        "a.b.c.jpg",
        "x.tmp/a.jpg",
        "old_original/a.jpg",
        "backup~/a.jpg",
        "My conflicted copy/a.jpg",
        "x.download/a.jpg",
    ],
)
def test_names_that_people_give_are_taken(path: str) -> None:
    assert rules().verdict(path).taken
    assert rules().takes(path)


camera_names = st.one_of(
    st.from_regex(r"(IMG|DSC|PXL|MVI|GOPR|DJI|VID|_DSC|_MG|P|DSCF|SAM)_?[0-9]{4,8}(~[0-9]|-[0-9])?", fullmatch=True),
    st.from_regex(r"(IMG|VID|PXL)[-_]20[0-9]{6}[-_](WA)?[0-9]{4,9}(\.MP|_HDR|-COVER)?", fullmatch=True),
    st.from_regex(r"20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]\.[0-5][0-9]\.[0-5][0-9]", fullmatch=True),
    st.from_regex(r"[A-Z][a-z]{2,9}( [0-9]{1,3}| \([0-9]\))?", fullmatch=True),
)
folders = st.sampled_from(
    ["", "DCIM/100CANON/", "2024/07 Sea/", "DCIM/Camera/", "PRIVATE/M4ROOT/CLIP/", "Screenshots/"]
)


@given(folders, camera_names, st.sampled_from(SETS["@media"]), st.booleans())
def test_no_built_in_pattern_turns_away_an_ordinary_camera_name(
    folder: str, name: str, extension: str, upper: bool
) -> None:
    path = f"{folder}{name}.{extension.upper() if upper else extension}"
    assert rules().verdict(path).taken


# a small alphabet, so that patterns and paths meet
paths = st.lists(
    st.sampled_from(
        ["a", "b", ".h", "x.jpg", "X.JPG", "@eaDir", "#recycle", "n\nl", "y.tmp", "z~", "\udcff.png", "M4ROOT", "SUB"]
    ),
    min_size=1,
    max_size=4,
).map("/".join)
patterns = st.sampled_from(
    [
        *("*", "**", "*/", "a/", "!a/", "*.jpg", "!*.jpg", "a/**", "/a", "/*", "!/b", "a/*.jpg", "**/b", "!.*"),
        *("x.jpg", "!x.jpg", "@images", "!@images", "b/**/x.jpg", "?.jpg", "[ab]/", "!@eaDir/", "**/", "a/**/"),
    ]
)


@given(st.lists(patterns, min_size=1, max_size=4), st.lists(patterns, max_size=4), st.booleans(), paths)
def test_the_fast_answer_is_the_explained_one(
    include: list[str], exclude: list[str], exclude_defaults: bool, path: str
) -> None:
    some = rules(*include, exclude=tuple(exclude), exclude_defaults=exclude_defaults)
    assert some.takes(path) == some.verdict(path).taken


@given(st.lists(patterns, min_size=1, max_size=4), st.lists(patterns, max_size=4), paths)
def test_nothing_is_taken_out_of_a_folder_that_is_not_entered(
    include: list[str], exclude: list[str], path: str
) -> None:
    some = rules(*include, exclude=tuple(exclude))
    folder = path.rpartition("/")[0]
    while folder:
        if not some.enters(folder):
            assert not some.takes(path)
        folder = folder.rpartition("/")[0]


def test_a_folder_with_the_name_of_a_picture_does_not_let_in_what_lies_in_it() -> None:
    assert not rules("*.jpg").takes("album.jpg/notes.txt")
    assert rules("*.jpg").takes("album.jpg/a.jpg")


def test_a_pattern_that_ends_in_a_slash_lets_in_what_lies_in_the_folder() -> None:
    assert rules("raw/").takes("2024/raw/a/b.dat")
    assert not rules("raw/").takes("2024/raw")
    assert not rules("/raw/").takes("2024/raw/b.dat")


def test_the_last_include_pattern_that_matches_decides() -> None:
    some = rules("@images", "!private/")
    assert some.takes("a.jpg")
    assert not some.takes("private/a.jpg")
    assert "`!private/` of include" in some.verdict("private/a.jpg").reason
    assert rules("!private/", "@images").takes("private/a.jpg")


def test_exclude_wins_over_include() -> None:
    some = rules("@media", exclude=("@videos", "drafts/"))
    assert some.takes("a.jpg")
    assert not some.takes("a.mp4")
    assert not some.takes("x/drafts/y/a.jpg")
    assert not some.enters("x/drafts")


def test_an_excluded_set_is_about_files_not_about_folders_of_that_name() -> None:
    assert rules("@images", exclude=("@videos",)).takes("clip.mp4/a.jpg")


def test_what_lies_in_an_excluded_folder_cannot_be_taken_back() -> None:
    assert not rules(exclude=("drafts/", "!drafts/good.jpg")).takes("drafts/good.jpg")
    assert rules(exclude=("drafts/**", "!drafts/good.jpg")).takes("drafts/good.jpg")


def test_a_negation_takes_back_a_built_in_pattern_and_only_that_one() -> None:
    some = rules("*", exclude=("!*_original", "!.public/"))
    assert some.takes("a.jpg_original")
    assert some.takes(".public/a.jpg")
    assert not some.takes(".public/.hidden.jpg")
    assert not some.takes(".private/a.jpg")


def test_without_the_defaults_hidden_and_temporary_names_are_taken() -> None:
    some = rules("*", exclude_defaults=False)
    assert some.takes(".a.jpg")
    assert some.takes("@eaDir/b.tmp")


def test_a_line_feed_in_a_name_hides_nothing_from_the_patterns() -> None:
    assert not EVERYTHING.takes("a\nb/.hidden.jpg")
    assert not rules().takes("notes.jpg\n")


def test_names_that_are_not_utf8_are_judged_like_others() -> None:
    assert rules().takes("\udcff\udcfe.jpg")
    assert not rules().takes("\udcff/.x.jpg")


def test_a_watch_that_is_not_recursive_takes_nothing_from_below() -> None:
    flat = Rules(("@media",), (), recursive=False)
    assert flat.takes("a.jpg")
    assert not flat.takes("x/a.jpg")
    assert not flat.enters("x")
    assert "recursive" in flat.verdict("x/a.jpg").reason


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a.jpg", "taken by the pattern `@media` of include"),
        ("a.txt", "matches no pattern of include"),
        (".a.jpg", "excluded by the built-in pattern `.*`"),
        ("x/#recycle/y/a.jpg", "lies in the folder `x/#recycle`, excluded by the built-in pattern `#recycle/`"),
        ("b.gif", "excluded by the pattern `*.gif` of exclude"),
    ],
)
def test_the_reason_names_the_pattern_its_list_and_the_folder(path: str, reason: str) -> None:
    assert rules(exclude=("*.gif",)).verdict(path).reason == reason


@pytest.mark.parametrize("pattern", ["# comment", "[a", "a\\", "", "!", "/"])
def test_a_pattern_that_can_match_nothing_is_refused_by_its_name(pattern: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"`{pattern}`")):
        rules(exclude=(pattern,))


def test_marks_after_a_negation_are_ordinary_characters() -> None:
    some = rules("*", exclude=("*.gif", "!#1.gif", "!!.gif"))
    assert some.takes("#1.gif")
    assert some.takes("!.gif")
    assert not some.takes("2.gif")


def test_sizes_outside_the_limits_are_refused_with_both_numbers() -> None:
    some = Rules(("*",), (), min_size=10, max_size=20)
    assert some.size_refusal(10) is None
    assert some.size_refusal(20) is None
    assert some.size_refusal(9) == "its size is 9 bytes, and min_size is 10"
    assert some.size_refusal(21) == "its size is 21 bytes, and max_size is 20"


def test_a_file_that_aria2_still_downloads_is_unfinished() -> None:
    assert unfinished_sibling({"a.mp4", "a.mp4.aria2"}, "a.mp4")
    assert not unfinished_sibling({"a.mp4", "b.mp4.aria2"}, "a.mp4")


def test_very_many_folders_are_answered_alike() -> None:
    some = rules(exclude=("no/",))
    assert all(some.takes(f"f{number}/a.jpg") for number in range(20_000))
    assert not some.takes("f1/no/a.jpg")


def test_a_path_of_a_thousand_folders_is_judged() -> None:
    assert rules().takes("d/" * 2000 + "a.jpg")
    assert not rules().takes("d/" * 1000 + ".git/" + "d/" * 1000 + "a.jpg")
