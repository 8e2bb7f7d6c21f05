"""ADD: what COPY does, archives, URLs and git."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
from typing import Any

from cases.case import OLD, Fifo, File, Folder, Hard, Link, archive, case

CONTENT = {
    "top": File("top", 0o640, owner=(5, 6)),
    "d": Folder(0o750, owner=(7, 8)),
    "d/f": "f",
    "d/l": Link("f"),
    "d/h": Hard("d/f"),
    "p": Fifo(),
}
TAR = archive(CONTENT)
T2 = 1_234_567_890
WEB = "http://127.0.0.1:8000"
SITE_FILES: dict[str, Any] = {
    "file.txt": File("from the web\n", 0o644, T2),
    "sub/deep.bin": File(bytes(range(256)), 0o600, T2),
    "a.tar": File(TAR, 0o644, T2),
    "sp ace": File("blank", 0o644, T2),
}
SUM = "9f0f2f8ad3fd5d2a5b3c3bdc4b5b0a4d4e2f7a2f8f6f9f3b2b7a6a5a4a3a2a1a"


def git_site(folder: str) -> None:
    """A repository with two commits, a tag and a branch, always the same."""
    where = f"{folder}/repo"
    identity = {"NAME": "someone", "EMAIL": "some@example.org", "DATE": f"{OLD} +0000"}
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {
        f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in identity.items()
    }

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", where, *words], check=True, capture_output=True, env=environment)

    os.makedirs(f"{where}/sub")
    for name, text in (("a", "one\n"), ("sub/b", "b\n")):
        with open(f"{where}/{name}", "w") as file:
            file.write(text)
    os.chmod(f"{where}/sub/b", 0o755)
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")
    git("checkout", "-q", "-b", "other")
    with open(f"{where}/a", "w") as file:
        file.write("two\n")
    git("commit", "-q", "-a", "-m", "second")
    git("checkout", "-q", "main")


case("add-file", "FROM box:1\nADD a /a\nADD a d /dest/\n", files={"a": "a", "d/f": "f"})
case("add-tar", "FROM box:1\nADD a.tar /dest/\n", files={"a.tar": TAR})
case("add-tar-to-name", "FROM box:1\nADD a.tar /dest\n", files={"a.tar": TAR})
case("add-tar-to-root", "FROM box:1\nADD a.tar /\n", files={"a.tar": TAR})
case("add-tar-gz", "FROM box:1\nADD a.tgz /dest/\n", files={"a.tgz": archive(CONTENT, "gz")})
case("add-tar-bz2", "FROM box:1\nADD a.tbz /dest/\n", files={"a.tbz": archive(CONTENT, "bz2")})
case("add-tar-xz", "FROM box:1\nADD a.txz /dest/\n", files={"a.txz": archive(CONTENT, "xz")})
case("add-tar-by-content", "FROM box:1\nADD plain.txt /dest/\n", files={"plain.txt": TAR})
case("add-not-a-tar", "FROM box:1\nADD a.tar /dest/\n", files={"a.tar": "this is no archive"})
case(
    "add-gzip-of-no-tar",
    "FROM box:1\nADD a.gz /dest/\n",
    files={"a.gz": gzip.compress(b"just text", mtime=0)},
)
case("add-empty-tar", "FROM box:1\nADD a.tar /dest/\n", files={"a.tar": archive({})})
case(
    "add-tar-chown",
    "FROM box:1\nADD --chown=1000:2000 a.tar /dest/\n",
    files={"a.tar": TAR},
    changed={"tree": "the owner was that of the archive"},
)
case("add-tar-chmod", "FROM box:1\nADD --chmod=700 a.tar /dest/\n", files={"a.tar": TAR})
case("add-tar-and-file", "FROM box:1\nADD a.tar f /dest/\n", files={"a.tar": TAR, "f": "f"})
case("add-tar-in-folder", "FROM box:1\nADD d /dest/\n", files={"d/a.tar": TAR})
case(
    "add-tar-wildcard",
    "FROM box:1\nADD *.tar /dest/\n",
    files={"1.tar": archive({"one": "1"}), "2.tar": archive({"two": "2"})},
)
case("add-tar-link", "FROM box:1\nADD --link a.tar /dest/\n", files={"a.tar": TAR})
case(
    "add-tar-over-there",
    "FROM box:1\nRUN mkdir -m 700 -p /dest/d && echo old > /dest/top && echo kept > /dest/d/kept\nADD a.tar /dest/\n",
    files={"a.tar": TAR},
)
case(
    "add-tar-file-over-folder",
    "FROM box:1\nRUN mkdir -p /dest/x/y\nADD a.tar /dest/\n",
    files={"a.tar": archive({"x": "now a file"})},
)
case(
    "add-tar-folder-over-file",
    "FROM box:1\nRUN mkdir /dest && touch /dest/x\nADD a.tar /dest/\n",
    files={"a.tar": archive({"x": Folder(), "x/y": "y"})},
)
case(
    "add-tar-folder-over-link",
    "FROM box:1\nRUN mkdir /dest /real && ln -s /real /dest/x\nADD a.tar /dest/\n",
    files={"a.tar": archive({"x": Folder(), "x/y": "y"})},
)
case(
    "add-tar-through-own-link",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"x": Link("/etc"), "x/y": "y"})},
    differs={"verdict": "what goes through a link of the archive stays in the folder that it is unpacked in"},
    fails="no such file",
)
case("add-tar-absolute-names", "FROM box:1\nADD a.tar /dest/\n", files={"a.tar": archive({"/abs/f": "f"})})
case(
    "add-tar-dot-names",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"./": Folder(0o711), "./x/./y": "y"})},
)
case("add-tar-no-parents", "FROM box:1\nADD a.tar /dest/\n", files={"a.tar": archive({"deep/er/f": "f"})})
case(
    "add-tar-twice-same",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"f": "f"})[:-9216] + archive({"f": "again"})},
)
case(
    "add-tar-modes",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"s": File("s", 0o4755), "t": Folder(0o1777), "z": File("z", 0)})},
)
case(
    "add-tar-times",
    "FROM box:1\nADD a.tar /dest/\n",
    files={
        "a.tar": archive(
            {"new": File("s", time=T2), "old": File("o", time=0), "d": Folder(time=T2), "d/x": "x"}
        )
    },
)
case(
    "add-tar-xattr",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"f": File("s", attributes={"user.note": b"hello"})})},
    differs={"tree": "a layer keeps all attributes that an archive has"},
)
case(
    "add-tar-whiteout",
    "FROM box:1\nRUN mkdir /dest && touch /dest/gone\nADD a.tar /dest/\n",
    files={"a.tar": archive({".wh.gone": "", "f": "f"})},
    differs={"verdict": "a file of this name in a layer deletes another one"},
)
case(
    "add-tar-dot-dot",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"../up": "u"})},
    differs={"verdict": "an archive whose names lead out is refused (K14)"},
)
case(
    "add-tar-hard-link-out",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"l": Hard("../../etc/passwd")})},
    fails="no such file",
    changed={"verdict": "a link to nothing was left out"},
)
case(
    "add-tar-link-out",
    "FROM box:1\nADD a.tar /dest/\n",
    files={"a.tar": archive({"l": Link("../../../../../etc")})},
)
case(
    "add-tar-cut",
    "FROM box:1\nADD a.tgz /dest/\n",
    files={"a.tgz": archive({"f": bytes(random.Random(1).randbytes(5000))}, "gz")[:-2000]},
    fails="EOF|unexpected",
)
case(
    "add-tar-into-link",
    "FROM box:1\nRUN mkdir /real && ln -s real /dest\nADD a.tar /dest/\n",
    files={"a.tar": TAR},
)
case("add-tar-in-scratch", "FROM scratch\nADD a.tar /\n", files={"a.tar": TAR})
case("add-missing", "FROM box:1\nADD nothing /x\n", fails="nothing.*not found")
case("add-from-is-no-flag", "FROM box:1 AS s\nFROM box:1\nADD --from=s /a /a\n", fails="unknown flag")
case(
    "add-unpack-false",
    "FROM box:1\nADD --unpack=false a.tar /dest/\n",
    files={"a.tar": TAR},
    since=(1, 17),
    older="FROM box:1\nCOPY a.tar /dest/\n",
)
case(
    "add-unpack-url",
    f"FROM box:1\nADD --unpack=true {WEB}/a.tar /dest/\n",
    files={"a.tar": TAR},
    since=(1, 17),
    older="FROM box:1\nADD a.tar /dest/\n",
)

# -- URLs

case("add-url", f"FROM box:1\nADD {WEB}/file.txt /x/\n")
case("add-url-name", f"FROM box:1\nADD {WEB}/file.txt /named\n")
case("add-url-to-folder-by-link", f"FROM box:1\nRUN mkdir /real && ln -s real /l\nADD {WEB}/file.txt /l/\n")
case("add-url-to-existing-folder", f"FROM box:1\nADD {WEB}/file.txt /etc\n")
case("add-url-chown-chmod", f"FROM box:1\nADD --chown=user --chmod=640 {WEB}/sub/deep.bin /x\n")
case("add-url-tar-not-unpacked", f"FROM box:1\nADD {WEB}/a.tar /x/\n")
case("add-url-query", f"FROM box:1\nADD {WEB}/file.txt?a=b /x/\n")
case("add-url-expands", f"FROM box:1\nARG NAME=file.txt\nADD {WEB}/$NAME /x/\n")
case("add-url-and-file", f"FROM box:1\nADD {WEB}/file.txt local /x/\n", files={"local": "l"})
case(
    "add-url-no-name",
    f"FROM box:1\nADD {WEB}/ /x/\n",
)
case("add-url-missing", f"FROM box:1\nADD {WEB}/none /x\n", fails="404")
case("add-url-no-server", "FROM box:1\nADD http://127.0.0.1:9/x /x\n", fails="refused")
case(
    "add-url-checksum-wrong",
    f"FROM box:1\nADD --checksum=sha256:{SUM} {WEB}/file.txt /x\n",
    fails="digest mismatch|mismatch",
)
case("add-url-link", f"FROM box:1\nADD --link {WEB}/file.txt /new/x\n")
case(
    "add-checksum-of-file",
    f"FROM box:1\nADD --checksum=sha256:{SUM} a /x\n",
    files={"a": "a"},
    fails="checksum",
)
case(
    "add-checksum-invalid",
    f"FROM box:1\nADD --checksum=md5:1234 {WEB}/file.txt /x\n",
    fails="checksum|digest|unsupported",
)
case("add-git", "FROM box:1\nADD git://127.0.0.1/repo /r\n")
case(
    "add-git-ref-and-folder",
    "FROM box:1\nADD git://127.0.0.1/repo#other /o\nADD git://127.0.0.1/repo#v1:sub /s\n",
)
