"""The sets of extensions and the built-in excludes, as users know them; `filters` gives them their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_IMAGES = _words("jpg jpeg jpe jfif png gif webp bmp heic heif hif avif")
_VIDEOS = _words("mp4 m4v mov webm mkv avi mpg mpeg 3gp 3g2 mts m2ts")
_RAW = _words(
    "3fr arw cap cin cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw"
    " x3f"
)

SETS: Mapping[str, Sequence[str]] = {
    "@images": _IMAGES,
    "@videos": _VIDEOS,
    "@media": _IMAGES + _VIDEOS,
    "@raw": _RAW,
    "@tiff": _words("tif tiff"),
}
"""The words that stand for many extensions, in `include` and in `exclude`."""

HIDDEN = (".*",)
"""Hidden names, files and folders."""

UNFINISHED = (
    *_words("*.part *.partial *.filepart *.crdownload *.crswap *.download *.tmp *.temp *.temp.*"),
    *_words("*.!sync *.!qB *.!ut *.aria2 *.ocTransferId* ~syncthing~* ~$* *~ *.sw[opx]"),
    *_words("*_exiftool_tmp *_original tmpfile?????? *.sync-conflict-* *_conflict-*"),
    "*conflicted copy*",
)
"""Unfinished files and conflict copies: never about a folder, which people do name `old_original`."""

SYSTEM = (
    *_words("@eaDir/ #recycle/ #snapshot/ @tmp/ @sharebin/ @SynoResource/ @SynologyCloudSync/"),
    *_words("SYNOFILE_THUMB* SYNOPHOTO_THUMB* SYNOPHOTO_FILM* SYNOVIDEO_THUMB* Thumbs.db ehthumbs.db"),
    *_words("@Recycle/ @Recently-Snapshot/ @Transcode/ @__thumb/ ~snapshot/ $RECYCLE.BIN/ RECYCLER/ lost+found/"),
    *("System Volume Information/", "Network Trash Folder/", "Temporary Items/"),
    *_words("*.lrdata/ *.lrcat-data/ CaptureOne/ *.photoslibrary/ *.aplibrary/ *.cocatalog/"),
    *("Lightroom Catalog/", "Recently Deleted/"),
    *_words("M4ROOT/THMBNL/ M4ROOT/SUB/ AVF_INFO/ CANONMSC/ MISC/THM/"),
)
"""Names of NAS systems, catalogues and camera proxies; without a slash at the end a file is meant as well."""
