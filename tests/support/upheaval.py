"""Does to a watched folder what people and programs do to one, and worse: each step is drawn from a seed.

upheaval = Upheaval(inbox, outside, seed)
for _ in range(1000):
    upheaval.step()
upheaval.end()
assert what_is_published == wanted_in(inbox)
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from support.files import jpeg

FEWEST, MOST = 40, 120
"""Files in the watched folder below and above which more come, and more go, than otherwise."""

_WRITERS = 6
"""Files that are open for writing at once, at the most."""

_WANTED = (".jpg", ".jpeg", ".png", ".mp4")
_EXCLUDED_FOLDERS = (".hidden", "@eaDir")
_LARGE = 300_000
"""Bytes of a file that is sent in blocks."""
_IN_THE_WAY = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.ENOENT})
"""What renaming says if something else has that name, or would be moved into itself."""
_CANNOT = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV})
"""What file systems say that have no links or pipes, or cannot rename what lies in their lower half."""


def wanted_in(folder: Path) -> dict[str, str]:
    """What is to be published: the SHA-256 of each file there that the default rules take, by its path.

    On purpose not with the program's own rules: only with what the names made here come to.
    """
    found: dict[str, str] = {}
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _EXCLUDED_FOLDERS]
        for name in names:
            path = Path(top, name)
            taken = name.lower().endswith(_WANTED) and not name.startswith(".") and f"{name}.aria2" not in names
            if taken and not path.is_symlink() and path.is_file() and path.stat().st_size:
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Of(Enum):
    """What of the files is changed."""

    NAMES = "names"
    CONTENTS = "contents"


@dataclass
class _Writer:
    """A program that has a file open, and what it has still to write."""

    file: BinaryIO
    pieces: list[bytes]


class Upheaval:
    """`ever`: the SHA-256 of every content that was complete for a moment: nobody had its file open for writing.

    `untold`: inodes whose content was changed by another of their names, which no event tells of.
    With `coarse` nothing is done that times in steps of seconds, without one of the last change, could not tell of.
    With `only` no files come or go: they get other names, or other contents.
    """

    def __init__(self, inbox: Path, outside: Path, seed: int, *, coarse: bool = False, only: Of | None = None) -> None:
        self.ever: set[str] = set()
        self.untold: set[int] = set()
        self.done: Counter[str] = Counter()
        self._inbox = inbox
        self._outside = outside
        self._random = random.Random(seed)
        self._number = 0
        self._writers: list[_Writer] = []
        self._locked: dict[Path, int] = {}
        self._doings: dict[Callable[[], None], int] = {
            self._write: 14,
            self._begin_writing: 6,
            self._go_on_writing: 24,
            self._write_aside_and_rename: 8,
            self._copy: 4,
            self._replace: 4,
            self._rewrite_in_place: 6,
            self._rewrite_unseen: 3,
            self._same_size_and_time: 3,
            self._append: 2,
            self._touch: 3,
            self._rename_file: 8,
            self._rename_over: 3,
            self._change_case: 2,
            self._turn_away_and_back: 4,
            self._rename_folder: 4,
            self._move_out: 4,
            self._move_in: 5,
            self._delete: 5,
            self._delete_and_remake: 3,
            self._delete_tree: 1,
            self._hard_link: 3,
            self._link_outside: 2,
            self._symlink: 2,
            self._make_odd: 1,
            self._storm_of_folders: 2,
            self._folder_of_the_same_name: 3,
            self._lock: 2,
            self._unlock: 4,
            self._download: 2,
        }
        if coarse:
            for unseen in (self._rewrite_in_place, self._same_size_and_time, self._delete_and_remake, self._touch):
                del self._doings[unseen]
        self._only = only
        if only is not None:
            self._doings = dict.fromkeys(self._of(only), 1)

    def _of(self, kind: Of) -> list[Callable[[], None]]:
        if kind is Of.NAMES:
            names = [self._rename_file, self._rename_over, self._swap, self._change_case, self._rename_folder]
            return [*names, self._turn_away_and_back, self._move_out, self._move_in]
        contents = [self._rewrite_in_place, self._append, self._replace, self._replace_at_once, self._touch]
        return [*contents, self._same_size_and_time, self._lock, self._unlock]

    def fill(self, count: int) -> None:
        """So many files, each with a content of its own."""
        while len(wanted_in(self._inbox)) < count:
            self._write()

    def step(self) -> None:
        """Does one thing more; counts it in `done` if there was something to do it to."""
        (doing,) = self._random.choices([*self._doings], [*self._doings.values()])
        count = len(self._files(self._inbox))
        if count > MOST and self._random.random() < 0.3:
            doing = self._random.choice([self._delete, self._move_out, self._delete_tree])
        elif count < FEWEST and self._write in self._doings and self._random.random() < 0.7:
            doing = self._random.choice([self._write, self._move_in, self._write_aside_and_rename])
        try:
            doing()
        except LookupError:
            return  # there is no such file or folder at this moment
        except OSError as error:
            if error.errno not in _IN_THE_WAY | _CANNOT:
                raise
            return
        self.done[doing.__name__.strip("_").replace("_", " ")] += 1

    def close(self) -> None:
        """Finishes what is open."""
        while self._writers:
            self._go_on_writing()

    def end(self) -> None:
        """Finishes what is open, and gives back the permissions that were taken."""
        self.close()
        while self._locked:
            self._unlock()
        for top, _, names in os.walk(self._inbox):
            for name in names:
                if name.endswith(".aria2"):
                    Path(top, name).unlink()

    # --- what there is

    def _tree(self, top: Path) -> tuple[list[Path], list[Path]]:
        """All regular files and all folders below, in an order that the seed alone decides."""
        files: list[Path] = []
        below: list[Path] = []
        for folder, folders, names in os.walk(top):
            here = Path(folder)
            below += [here / name for name in folders if not (here / name).is_symlink()]
            files += [path for path in (here / name for name in names) if path.is_file() and not path.is_symlink()]
        return sorted(files), sorted(below)

    def _files(self, top: Path) -> list[Path]:
        return self._tree(top)[0]

    def _any_file(self, top: Path | None = None) -> Path:
        return self._random.choice(self._files(top or self._inbox))

    def _free_file(self) -> Path:
        """A file of the watched folder that no writer of ours has open."""
        open_ones = {os.fstat(writer.file.fileno()).st_ino for writer in self._writers}
        return self._random.choice([f for f in self._files(self._inbox) if f.stat().st_ino not in open_ones])

    def _any_folder(self, top: Path | None = None) -> Path:
        """A folder of the watched one, or that itself."""
        top = top or self._inbox
        return self._random.choice([top, *self._tree(top)[1]])

    def _below(self, top: Path | None = None) -> Path:
        return self._random.choice(self._tree(top or self._inbox)[1])

    def _new_file(self, top: Path | None = None) -> Path:
        """A free name, in a folder that is there or in one to be made."""
        self._number += 1
        folder = self._any_folder(top)
        if self._random.random() < 0.25 and len(folder.parts) - len((top or self._inbox).parts) < 6:
            folder = folder / self._folder_name("DCIM")
            folder.mkdir(exist_ok=True)
        suffixes = [".jpg", ".JPG", ".png", ".mp4", ".txt"]
        suffix = self._random.choices(suffixes, [20, 4, 2, 2, 0 if self._only else 1])[0]
        return folder / f"{self._number}{suffix}"

    def _folder_name(self, other: str) -> str:
        """Seldom one that the rules do not enter; never, where nothing is to come and go."""
        names = ["day", "job", f"{self._number}", other, *_EXCLUDED_FOLDERS]
        seldom = 0 if self._only else 1
        return self._random.choices(names, [4, 4, 4, 4, seldom, seldom])[0]

    def _content(self) -> bytes:
        self._number += 1
        size = self._random.choices(
            [0, 4_000, self._random.randint(1_000, 40_000), _LARGE + self._number], [1, 10, 25, 2]
        )[0]
        return jpeg(size, seed=self._random.getrandbits(40)) if size else b""

    # --- contents

    def _put(self, path: Path, content: bytes, mode: str = "wb") -> None:
        """Writes and closes; what another name of the file tells nobody of is noted."""
        with open(path, mode) as file:
            file.write(content)
            self._note_untold(file.fileno())
        self._note(path)

    def _note(self, path: Path) -> None:
        self.ever.add(hashlib.sha256(path.read_bytes()).hexdigest())

    def _note_untold(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if status.st_nlink > 1:
            self.untold.add(status.st_ino)

    def _write(self) -> None:
        self._put(self._new_file(), self._content())

    def _copy(self) -> None:
        content = self._any_file().read_bytes()
        self._put(self._new_file(), content)

    def _replace(self) -> None:
        """As `cp` does over an old file: opened, cut to nothing, written."""
        self._put(self._free_file(), self._content())

    def _append(self) -> None:
        self._put(self._free_file(), b"and more", "ab")

    def _rewrite_in_place(self) -> None:
        """As a tagger does that keeps the size: some bytes in the middle are others now."""
        path = self._free_file()
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.seek(size // 2)
            file.write(self._random.randbytes(min(200, size - size // 2)))
            self._note_untold(file.fileno())
        self._note(path)

    def _rewrite_unseen(self) -> None:
        """By a name that lies outside."""
        path = self._random.choice([f for f in self._files(self._outside) if f.stat().st_nlink > 1])
        if path.stat().st_ino in {os.fstat(writer.file.fileno()).st_ino for writer in self._writers}:
            raise LookupError
        self._put(path, self._content())

    def _same_size_and_time(self) -> None:
        """Another content, which size and mtime do not betray."""
        path = self._free_file()
        status = path.stat()
        if not status.st_size:
            raise LookupError
        self._put(path, self._random.randbytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _touch(self) -> None:
        path, day = self._any_file(), 86_400
        seconds = path.stat().st_mtime + self._random.choice([-40 * day, -1, 1, 2 * day])
        os.utime(path, (seconds, seconds))

    def _begin_writing(self) -> None:
        """Opens a new file or an old one, some with all their room taken beforehand."""
        if len(self._writers) >= _WRITERS:
            raise LookupError
        path = self._free_file() if self._random.random() < 0.3 else self._new_file()
        content = self._content()
        file = open(path, "wb")  # noqa: SIM115 - closed by a later step
        self._note_untold(file.fileno())
        if content and self._random.random() < 0.3:
            os.posix_fallocate(file.fileno(), 0, len(content))
        cuts = sorted(self._random.randint(0, len(content)) for _ in range(self._random.randint(0, 4)))
        self._writers.append(
            _Writer(file, [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)])
        )

    def _go_on_writing(self) -> None:
        writer = self._random.choice(self._writers)
        if writer.pieces:
            writer.file.write(writer.pieces.pop(0))
            writer.file.flush()
            return
        self._writers.remove(writer)
        self._note_untold(writer.file.fileno())
        self._note(Path(f"/proc/self/fd/{writer.file.fileno()}"))
        writer.file.close()

    def _write_aside_and_rename(self) -> None:
        """As careful programs do: under another name, here or outside, and then into its place."""
        path = self._new_file() if self._random.random() < 0.7 else self._any_file()
        self._number += 1
        aside = self._random.choice(
            [path.with_suffix(".part"), path.with_name(f".{self._number}"), self._outside / f"{self._number}"]
        )
        self._put(aside, self._content())
        os.replace(aside, path)

    def _replace_at_once(self) -> None:
        """A new file in the place of an old one, which is never missing."""
        path = self._any_file()
        aside = path.with_name(f".{path.name}")
        self._put(aside, self._content())
        os.replace(aside, path)

    def _download(self) -> None:
        """As aria2 does: what it keeps beside the file says until the end that it is not complete."""
        path = self._new_file()
        sibling = path.with_name(f"{path.name}.aria2")
        sibling.write_bytes(b"")
        self._put(path, self._content())
        self._put(path, self._content(), "ab")
        sibling.unlink()

    # --- names

    def _rename_file(self) -> None:
        os.rename(self._any_file(), self._new_file())

    def _rename_over(self) -> None:
        os.replace(self._any_file(), self._any_file())

    def _swap(self) -> None:
        """Two files, or three, change places."""
        files = self._files(self._inbox)
        chosen = self._random.sample(files, min(self._random.randint(2, 3), len(files)))
        aside = chosen[0].with_name(".aside")
        os.rename(chosen[0], aside)
        for there, path in pairwise(chosen):
            os.rename(path, there)
        os.rename(aside, chosen[-1])

    def _change_case(self) -> None:
        path = self._any_file()
        os.rename(path, path.with_name(path.name.swapcase()))

    def _turn_away_and_back(self) -> None:
        """To a name that the rules do not take; or back from one."""
        path = self._any_file()
        taken = path.name.lower().endswith(_WANTED)
        os.rename(path, path.with_name(f"{path.name}.tmp" if taken else f"{path.name.split('.')[0]}.jpg"))

    def _rename_folder(self) -> None:
        self._number += 1
        excluded = [folder for folder in self._tree(self._inbox)[1] if folder.name in _EXCLUDED_FOLDERS]
        if excluded and self._random.random() < 0.3:
            os.rename(self._random.choice(excluded), self._inbox / f"{self._number}")
        else:
            os.rename(self._below(), self._any_folder() / self._folder_name("was"))

    def _move_out(self) -> None:
        self._number += 1
        files, folders = self._tree(self._inbox)
        old = self._random.choice([*folders, *files[: max(1, len(folders))]])
        os.rename(old, self._outside / f"{self._number}{old.suffix}")

    def _move_in(self) -> None:
        if self._random.random() < 0.5:
            os.rename(self._random.choice(self._files(self._outside)), self._new_file())
            return
        self._number += 1
        folder = self._below(self._outside)
        os.rename(folder, self._any_folder() / self._random.choice([folder.name, "job", f"{self._number}"]))

    def _delete(self) -> None:
        self._any_file().unlink()

    def _delete_and_remake(self) -> None:
        """The inode is often the same, and so may be size and time."""
        path = self._free_file()
        status = path.stat()
        path.unlink()
        anew = path if self._random.random() < 0.5 else self._new_file()
        if self._random.random() < 0.5 or not status.st_size:
            self._put(anew, self._content())
        else:
            self._put(anew, self._random.randbytes(status.st_size))
            os.utime(anew, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _delete_tree(self) -> None:
        folder = self._below()
        if len(self._files(folder)) > FEWEST // 2:
            raise LookupError  # not nearly everything at once
        shutil.rmtree(folder)

    def _hard_link(self) -> None:
        os.link(self._any_file(), self._new_file())

    def _link_outside(self) -> None:
        """A second name on the other side of the border, in either direction."""
        self._number += 1
        if self._random.random() < 0.6:
            os.link(self._any_file(), self._outside / f"{self._number}.jpg")
        else:
            os.link(self._any_file(self._outside), self._new_file())

    def _symlink(self) -> None:
        """To a file, to a folder, out of the watched folder, to nothing; in the place of a file, sometimes."""
        target = self._random.choice([self._any_folder(), self._outside, Path("nothing.jpg"), self._any_file()])
        link = self._new_file()
        if self._random.random() < 0.3:
            link = self._any_file()
            link.unlink()
        link.symlink_to(target)

    def _make_odd(self) -> None:
        os.mkfifo(self._new_file())

    # --- folders

    def _storm_of_folders(self) -> None:
        """Made, filled, renamed and removed faster than anybody can look."""
        top = self._any_folder()
        for number in range(self._random.randint(2, 12)):
            folder = top / f"storm{number % 3}"
            folder.mkdir(exist_ok=True)
            if self._random.random() < 0.5:
                self._put(folder / "a.jpg", self._content())
            if self._random.random() < 0.5:
                self._number += 1
                os.rename(folder, top / f"was storm {self._number}")
            else:
                shutil.rmtree(folder)

    def _folder_of_the_same_name(self) -> None:
        """Moved out, made again, and both removed: watchdog's reader has died of that."""
        job, out = self._any_folder() / "job", self._outside / "job"
        job.mkdir(exist_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        os.rename(job, out)
        job.mkdir()
        if self._random.random() < 0.5:
            job.rmdir()
            shutil.rmtree(out)
        else:
            self._put(job / f"{self._number}.jpg", self._content())

    def _lock(self) -> None:
        """Takes all permissions of a folder or a file."""
        path = self._below() if self._random.random() < 0.5 else self._any_file()
        if path not in self._locked:
            self._locked[path] = path.stat().st_ino
            path.chmod(0)

    def _unlock(self) -> None:
        """Gives them back; wherever it is by now."""
        path = self._random.choice([*self._locked])
        inode = self._locked.pop(path)
        for top in (self._inbox, self._outside):
            files, folders = self._tree(top)
            for found in (*files, *folders):
                if found.stat().st_ino == inode:
                    found.chmod(0o755)
