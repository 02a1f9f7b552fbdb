"""Programs that put pictures into a folder, each in its own way, as people run them.

Each function takes the folder of its originals and the folder to fill, and returns the contents (SHA-256) that lay
there whole for a while before it was done: they may be published, and need not be.
"""

from __future__ import annotations

import ftplib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.slow_server import SlowServer

Writer = Callable[[Path, Path], set[str]]

PAUSE = 1.5
"""Seconds of a pause in the middle of writing: more than a file must be quiet."""

_SLOW = "400"
"""What makes rsync and scp take about two seconds for the originals, in their own units."""

_SFTP_SERVER = ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec")
"""Where distributions put sftp-server."""


class Lacking(Exception):
    """A program is not installed."""


def found(*names: str, path: str | None = None) -> str:
    """The first of these programs that is installed. ImageMagick's, for one, is called this or that."""
    for name in names:
        program = shutil.which(name, path=path)
        if program:
            return program
    raise Lacking(" or ".join(names))


def run(*words: str | Path, cwd: Path | None = None, patience: float = 60.0) -> None:
    """Runs a program to its end; fails with what it said if it failed."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, cwd=cwd)
    assert done.returncode == 0, f"{words}: {done.stdout!r} {done.stderr!r}"


def sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _shas(folder: Path) -> set[str]:
    return {sha_of(path) for path in folder.rglob("*") if path.is_file()}


# --- copying


def cp(source: Path, target: Path) -> set[str]:
    run("cp", *sorted(source.iterdir()), target)
    return set()


def cp_with_times_and_folder(source: Path, target: Path) -> set[str]:
    run("cp", "-a", source, target / "DCIM")
    return set()


def cp_and_again_over_itself(source: Path, target: Path) -> set[str]:
    run("cp", *sorted(source.iterdir()), target)
    run("cp", *sorted(source.iterdir()), target)
    return set()


def install(source: Path, target: Path) -> set[str]:
    """Makes the folders and sets the permissions after the content."""
    for path in source.iterdir():
        run("install", "-D", "-m", "640", path, target / "made" / "on the way" / path.name)
    return set()


def dd_in_blocks(source: Path, target: Path) -> set[str]:
    for path in source.iterdir():
        run("dd", f"if={path}", f"of={target / path.name}", "bs=4k", "conv=fsync", "status=none")
    return set()


def rsync(source: Path, target: Path) -> set[str]:
    run(found("rsync"), "-a", f"{source}/", target)
    return set()


def rsync_slowly_in_place(source: Path, target: Path) -> set[str]:
    run(found("rsync"), "-a", "--inplace", f"--bwlimit={_SLOW}", f"{source}/", target)
    return set()


def rsync_with_all_renamed_at_the_end(source: Path, target: Path) -> set[str]:
    run(found("rsync"), "-a", "--delay-updates", f"{source}/", target)
    return set()


def rsync_over_other_pictures_in_place(source: Path, target: Path) -> set[str]:
    """What lay there is of another size, and is written over block by block."""
    names = sorted(path.name for path in source.iterdir())
    for old, new in zip(names, reversed(names), strict=True):
        shutil.copyfile(source / old, target / new)
    earlier = _shas(target)
    run(found("rsync"), "-a", "--inplace", "--no-whole-file", f"--bwlimit={_SLOW}", f"{source}/", target)
    return earlier


def scp_by_sftp(source: Path, target: Path) -> set[str]:
    """As sshd runs it, without the network: a stand-in for ssh speaks to sftp-server directly."""
    server = found("sftp-server", path=os.pathsep.join(_SFTP_SERVER))
    ssh = _script(source.with_name("sftp"), f'exec "{server}"')
    run(found("scp"), "-S", ssh, "-l", "8000", *sorted(source.iterdir()), f"host:{target}")
    return set()


def scp_the_old_way(source: Path, target: Path) -> set[str]:
    found("scp")
    ssh = _script(source.with_name("rcp"), 'for last; do :; done; eval "exec $last"')
    run("scp", "-O", "-S", ssh, "-p", *sorted(source.iterdir()), f"host:{target}")
    return set()


def _script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


# --- unpacking


def tar(source: Path, target: Path) -> set[str]:
    archive = source.with_name("card.tar")
    run("tar", "-C", source, "-cf", archive, ".")
    run("tar", "-C", target, "-xf", archive)
    return set()


def tar_from_a_slow_pipe(source: Path, target: Path) -> set[str]:
    """The rest of the archive comes after a pause in the middle of a file."""
    archive = source.with_name("slow.tar")
    run("tar", "-C", source, "-cf", archive, ".")
    content = archive.read_bytes()
    with subprocess.Popen(["tar", "-C", target, "-xf", "-"], stdin=subprocess.PIPE) as unpacking:
        assert unpacking.stdin
        for piece in (content[: len(content) // 2], content[len(content) // 2 :]):
            unpacking.stdin.write(piece)
            unpacking.stdin.flush()
            time.sleep(PAUSE)
        unpacking.stdin.close()
        assert unpacking.wait(60) == 0
    return set()


def unzip(source: Path, target: Path) -> set[str]:
    program = found("unzip")
    archive = Path(shutil.make_archive(str(source.with_name("card")), "zip", source))
    run(program, "-q", archive, "-d", target)
    return set()


# --- making and changing


def imagemagick(source: Path, target: Path) -> set[str]:
    """New pictures of old ones, and one that is changed in its place."""
    convert = [found("magick", "convert-im6")]
    picture = target / "turned.jpg"
    run(*convert, source / "IMG_0001.JPG", "-rotate", "90", picture)
    run(*convert, source / "IMG_0001.JPG", "-resize", "50%", target / "small.png")
    earlier = {sha_of(picture)}
    run(*convert, picture, "-negate", picture)
    return earlier


def exiftool(source: Path, target: Path) -> set[str]:
    """Tags each in one of its three ways: by a new file, with the original kept, and in its place."""
    program = found("exiftool")
    cp(source, target)
    earlier = _shas(target)
    pictures = sorted(path for path in target.iterdir() if path.suffix == ".JPG")
    for way, picture in zip(["-overwrite_original", "-P", "-overwrite_original_in_place"], pictures, strict=True):
        run(program, "-q", "-q", "-m", way, "-Comment=tagged", picture)
    return earlier


def ffmpeg_with_a_fast_start(source: Path, target: Path) -> set[str]:
    """It writes the video, and then all of it once more with the index in front."""
    words = ["-movflags", "+faststart", "-metadata", f"comment={source.parent.name}"]
    run(found("ffmpeg"), "-v", "error", "-i", source / "MVI_0003.MP4", "-c", "copy", *words, target / "fast.mp4")
    return set()


def ffmpeg_live(source: Path, target: Path) -> set[str]:
    """A recording, written as slowly as it is seen."""
    words = ["-movflags", "+faststart", "-metadata", f"comment={source.parent.name}"]
    video = source / "MVI_0003.MP4"
    run(
        found("ffmpeg"),
        "-v",
        "error",
        "-re",
        "-i",
        video,
        "-c",
        "copy",
        "-flush_packets",
        "1",
        *words,
        target / "live.mp4",
    )
    return set()


def ffmpeg_pictures(source: Path, target: Path) -> set[str]:
    """A picture of each of the first frames."""
    size = ["-vf", f"crop={300 + len(source.parent.name)}:200"]
    run(found("ffmpeg"), "-v", "error", "-i", source / "MVI_0003.MP4", *size, "-frames:v", "8", target / "%03d.jpg")
    return set()


# --- receiving


def _download(source: Path, target: Path, words: Callable[[SlowServer, Path], list[str | Path]]) -> None:
    with SlowServer(source, PAUSE) as server:
        running = [
            subprocess.Popen(
                words(server, path),
                cwd=target,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for path in source.iterdir()
        ]
        assert {each.wait(60) for each in running} == {0}


def curl(source: Path, target: Path) -> set[str]:
    program = found("curl")
    _download(source, target, lambda server, path: [program, "-sS", "-o", path.name, server.url(path.name)])
    return set()


def wget_broken_off_and_continued(source: Path, target: Path) -> set[str]:
    words: list[str | Path] = [found("wget"), "-q", "-c", "--tries=5", "--waitretry=1", "--no-proxy"]
    _download(source, target, lambda server, path: [*words, "-O", path.name, server.url(path.name, cut=True)])
    return set()


def aria2(source: Path, target: Path) -> set[str]:
    """With all room taken beforehand."""
    words: list[str | Path] = [found("aria2c"), "-q", "--file-allocation=falloc", "--no-conf"]
    _download(source, target, lambda server, path: [*words, "-o", path.name, server.url(path.name)])
    return set()


@contextmanager
def _ftp_server(folder: Path) -> Iterator[ftplib.FTP]:
    words = [sys.executable, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", "0", "-w", "-d", str(folder)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, encoding="utf-8") as server:
        assert server.stderr
        try:
            said = iter(server.stderr.readline, "")
            port = next(int(told[1]) for told in map(re.compile(r"FTP server on 127.0.0.1:(\d+)").search, said) if told)
            with ftplib.FTP() as ftp:  # noqa: S321 - what cameras speak
                ftp.connect("127.0.0.1", port, timeout=60)
                ftp.login()
                ftp.voidcmd("TYPE I")
                yield ftp
        finally:
            server.kill()


def ftp_in_pieces(source: Path, target: Path) -> set[str]:
    """As a camera sends, with a pause in the middle of each file."""
    with _ftp_server(target) as ftp:
        for path in sorted(source.iterdir()):
            content = path.read_bytes()
            with ftp.transfercmd(f"STOR {path.name}") as connection:
                connection.sendall(content[: len(content) // 2])
                time.sleep(PAUSE)
                connection.sendall(content[len(content) // 2 :])
            ftp.voidresp()
    return set()


def ftp_broken_off_and_resumed(source: Path, target: Path) -> set[str]:
    """The connection breaks in the middle; what came lies there, closed, and is carried on with after a while."""
    with _ftp_server(target) as ftp:
        for path in sorted(source.iterdir()):
            content = path.read_bytes()
            half = len(content) // 2
            with ftp.transfercmd(f"STOR {path.name}") as connection:
                connection.sendall(content[:half])
            ftp.voidresp()
            time.sleep(PAUSE)
            with ftp.transfercmd(f"APPE {path.name}") as connection:
                connection.sendall(content[half:])
            ftp.voidresp()
    return set()


WRITERS: tuple[Writer, ...] = (
    cp,
    cp_with_times_and_folder,
    cp_and_again_over_itself,
    install,
    dd_in_blocks,
    rsync,
    rsync_slowly_in_place,
    rsync_with_all_renamed_at_the_end,
    rsync_over_other_pictures_in_place,
    scp_by_sftp,
    scp_the_old_way,
    tar,
    tar_from_a_slow_pipe,
    unzip,
    imagemagick,
    exiftool,
    ffmpeg_with_a_fast_start,
    ffmpeg_live,
    ffmpeg_pictures,
    curl,
    wget_broken_off_and_continued,
    aria2,
    ftp_in_pieces,
    ftp_broken_off_and_resumed,
)
