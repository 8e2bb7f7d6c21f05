"""COPY: sources, destinations, owners, modes, times, links."""

from cases.case import Fifo, File, Folder, Hard, Link, Socket, case

T2 = 1_234_567_890  # 2009-02-13
TREE = {
    "a": "a",
    "b": File("b", 0o600),
    "x.sh": File("#!/bin/sh\n", 0o755),
    "d": Folder(0o750, T2),
    "d/one": "1",
    "d/two": File("2", 0o640, T2),
    "d/e": Folder(0o711),
    "d/e/three": "3",
    "d/empty": Folder(0o1777),
}

case("copy-file", "FROM box:1\nCOPY a /a\n", files=TREE)
case("copy-file-into", "FROM box:1\nCOPY a /new/dir/\nCOPY a /etc\n", files=TREE)
case("copy-file-as", "FROM box:1\nCOPY a /new/name\n", files=TREE)
case("copy-several", "FROM box:1\nCOPY a b d /dest/\n", files=TREE)
case("copy-folder", "FROM box:1\nCOPY d /dest\n", files=TREE)
case("copy-folder-slashes", "FROM box:1\nCOPY d/ /dest/\nCOPY ./d/e /dest2\n", files=TREE)
case("copy-all", "FROM box:1\nCOPY . /all\n", files=TREE)
case("copy-all-to-root", "FROM box:1\nCOPY . /\n", files=TREE)
case("copy-slash", "FROM box:1\nCOPY / /all/\n", files=TREE)
case(
    "copy-to-workdir", "FROM box:1\nWORKDIR /w\nCOPY a .\nCOPY a ./b\nCOPY a sub/\nCOPY d ../up\n", files=TREE
)
case("copy-parent-of-context", "FROM box:1\nCOPY ../a /a\n", files=TREE)
case("copy-absolute-source", "FROM box:1\nCOPY /a /a\nCOPY /d/one /one\n", files=TREE)
case("copy-wildcard", "FROM box:1\nCOPY d/* /dest/\n", files=TREE)
case("copy-wildcard-folders", "FROM box:1\nCOPY d* /dest/\n", files=TREE)
case("copy-wildcard-question", "FROM box:1\nCOPY ? /dest/\n", files=TREE)
case("copy-wildcard-class", "FROM box:1\nCOPY [ab] /dest/\n", files=TREE)
case("copy-wildcard-class-negated", "FROM box:1\nCOPY [^a].sh /dest/\n", files=TREE)
case("copy-wildcard-one-match", "FROM box:1\nCOPY x.* /dest\n", files=TREE)
case("copy-wildcard-one-folder", "FROM box:1\nCOPY d/e* /dest/\n", files={"d/e/three": "3"})
case("copy-wildcard-in-folder", "FROM box:1\nCOPY */one /dest/\n", files=TREE)
case(
    "copy-wildcard-none",
    "FROM box:1\nCOPY nothing* /dest/\n",
    files=TREE,
)
case(
    "copy-wildcard-none-beside-file",
    "FROM box:1\nCOPY a nothing* /dest/\n",
    files=TREE,
)
case("copy-wildcard-hidden", "FROM box:1\nCOPY * /dest/\n", files={".hidden": "h", "shown": "s"})
case(
    "copy-escaped-wildcard",
    "FROM box:1\nCOPY a\\[1\\] /dest/\nCOPY ['a[[]1]', '/x']\nCOPY [\"a[[]1]\", \"/dest2/\"]\n",
    files={"a[1]": "x", "a1": "no"},
)
case("copy-class-as-escape", 'FROM box:1\nCOPY ["a[[]1]", "/dest/"]\n', files={"a[1]": "x", "a1": "no"})
case(
    "copy-names-with-blanks",
    'FROM box:1\nCOPY ["a b", "c d/", "/dest dir/"]\n',
    files={"a b": "1", "c d/e f": "2"},
)
case("copy-quoted", 'FROM box:1\nCOPY "ab" /dest/\n', files={"ab": "1"})
case(
    "copy-quoted-blank",
    'FROM box:1\nCOPY "a b" /dest/\n',
    files={"a b": "1"},
    fails="unexpected end of statement",
)
case("copy-missing", "FROM box:1\nCOPY missing /a\n", files=TREE, fails="missing.*not found")
case(
    "copy-several-no-slash",
    "FROM box:1\nCOPY a b /dest\n",
    files=TREE,
    differs={"verdict": "one name for several files is a slip, and told"},
)
case(
    "copy-several-to-existing",
    "FROM box:1\nCOPY a b /etc\n",
    files=TREE,
)
case("copy-one-argument", "FROM box:1\nCOPY a\n", files=TREE, fails="requires at least two arguments")
case("copy-same-name-twice", "FROM box:1\nCOPY a d/a /dest/\n", files={"a": "first", "d/a": "second"})

# -- over what is there

case("copy-over-file", "FROM box:1\nRUN echo old > /f && chmod 777 /f && chown 5 /f\nCOPY a /f\n", files=TREE)
case(
    "copy-over-folder",
    "FROM box:1\nRUN mkdir -p /dest/e && chmod 700 /dest /dest/e && chown 5:6 /dest /dest/e && echo old > /dest/one && echo kept > /dest/kept\nCOPY d /dest\n",
    files=TREE,
)
case(
    "copy-over-folder-deep",
    "FROM box:1\nRUN mkdir -p /dest/d/e && chmod 700 /dest/d /dest/d/e\nCOPY . /dest\n",
    files=TREE,
)
case(
    "copy-existing-folder-time",
    "FROM box:1\nRUN mkdir /dest && touch -d '1999-01-01 00:00:00' /dest\nCOPY d /dest\n",
    files=TREE,
)
case("copy-file-over-folder", "FROM box:1\nRUN mkdir -p /f/x\nCOPY a /f\n", files=TREE)
case(
    "copy-file-over-folder-inside",
    "FROM box:1\nRUN mkdir -p /dest/one/x\nCOPY d /dest\n",
    files=TREE,
    fails="cannot|directory",
)
case(
    "copy-folder-over-file",
    "FROM box:1\nRUN touch /dest\nCOPY d /dest\n",
    files=TREE,
    fails="not a directory|cannot|failed",
)
case(
    "copy-folder-over-file-inside",
    "FROM box:1\nRUN mkdir /dest && touch /dest/e\nCOPY d /dest\n",
    files=TREE,
    fails="not a directory|cannot|failed",
)
case("copy-over-link-to-file", "FROM box:1\nRUN echo real > /real && ln -s real /f\nCOPY a /f\n", files=TREE)
case(
    "copy-over-link-to-folder",
    "FROM box:1\nRUN mkdir /real && ln -s real /dest\nCOPY a /dest\nCOPY d /dest/\n",
    files=TREE,
)
case(
    "copy-through-link-parent", "FROM box:1\nRUN mkdir /real && ln -s real /l\nCOPY a /l/sub/a\n", files=TREE
)
case("copy-over-dangling-link", "FROM box:1\nRUN ln -s /nowhere /f\nCOPY a /f\n", files=TREE)
case("copy-into-dangling-link", "FROM box:1\nRUN ln -s /nowhere/deep /f\nCOPY a /f/\n", files=TREE)
case("copy-link-out-of-root", "FROM box:1\nRUN ln -s ../../../etc /f\nCOPY a /f/\n", files=TREE)
case(
    "copy-link-over-folder-inside",
    "FROM box:1\nRUN mkdir -p /dest/l\nCOPY s /dest\n",
    files={"s/l": Link("x")},
    fails="cannot|directory|file exists",
)
case(
    "copy-folder-over-link-inside",
    "FROM box:1\nRUN mkdir /real /dest && ln -s /real /dest/e\nCOPY d /dest\n",
    files=TREE,
    fails="not a directory|cannot|failed",
)
case("copy-parent-is-file", "FROM box:1\nRUN touch /f\nCOPY a /f/x\n", files=TREE, fails="not a directory")

# -- kinds

case(
    "copy-link-in-folder",
    "FROM box:1\nCOPY s /dest\n",
    files={
        "s/f": "f",
        "s/l": Link("f"),
        "s/abs": Link("/etc/passwd"),
        "s/dang": Link("none"),
        "s/up": Link("../../x"),
    },
)
case("copy-link-itself", "FROM box:1\nCOPY l /dest\n", files={"f": "text", "l": Link("f")})
case("copy-link-to-folder", "FROM box:1\nCOPY l /dest\n", files={"d/f": "text", "l": Link("d")})
case("copy-link-to-folder-slash", "FROM box:1\nCOPY l/ /dest/\n", files={"d/f": "text", "l": Link("d")})
case("copy-link-in-path", "FROM box:1\nCOPY l/f /dest\n", files={"d/f": "text", "l": Link("d")})
case(
    "copy-link-by-wildcard",
    "FROM box:1\nCOPY l* /dest/\n",
    files={"f": "text", "l1": Link("f"), "l2": Link("none")},
    fails="(none|l2).*not found",
)
case(
    "copy-links-by-wildcard",
    "FROM box:1\nCOPY l* /dest/\n",
    files={"f": "text", "l1": Link("f"), "l2": Link("d"), "d/g": "g"},
)
case("copy-link-absolute", "FROM box:1\nCOPY l /dest\n", files={"f": "text", "l": Link("/f")})
case(
    "copy-hard-links",
    "FROM box:1\nCOPY s /dest\n",
    files={"s/f": "f", "s/g": Hard("s/f"), "s/sub/h": Hard("s/f")},
)
case("copy-fifo", "FROM box:1\nCOPY s /dest\n", files={"s/p": Fifo(), "s/f": "f"})
case(
    "copy-socket",
    "FROM box:1\nCOPY s /dest\n",
    files={"s/sock": Socket(), "s/f": "f"},
    differs={"tree": "a socket is no file, and nothing is made of it"},
)
case("copy-empty-folder", "FROM box:1\nCOPY s /dest\n", files={"s": Folder(0o700)})
case(
    "copy-special-modes",
    "FROM box:1\nCOPY s /dest/\n",
    files={"s": Folder(0o2775), "s/u": File("u", 0o4755), "s/g": File("g", 0o2711), "s/z": File("z", 0o000)},
)
case("copy-empty-file", "FROM box:1\nCOPY s /s\n", files={"s": ""})
case(
    "copy-binary-and-big",
    "FROM box:1\nCOPY . /d/\n",
    files={"bin": bytes(range(256)) * 300, "big": b"x" * 3_000_000},
)
case(
    "copy-odd-names",
    "FROM box:1\nCOPY s /dest\n",
    files={"s/a b": "1", "s/é☃": "2", "s/new\nline": "3", "s/$x": "4", "s/-f": "5", "s/.wh.x": "6"},
    differs={"verdict": "a file of this name in a layer deletes another one"},
)
case(
    "copy-odd-names-2",
    "FROM box:1\nCOPY s /dest\n",
    files={"s/a b": "1", "s/é☃": "2", "s/new\nline": "3", "s/$x": "4", "s/-f": "5", "s/back\\slash": "6"},
)
case(
    "copy-context-owner-is-root",
    "FROM box:1\nCOPY s /dest\n",
    files={"s": Folder(owner=(1000, 1000)), "s/f": File("f", owner=(1000, 2000))},
)
case(
    "copy-times",
    "FROM box:1\nCOPY s /dest\n",
    files={"s": Folder(time=T2), "s/old": File("o", time=0), "s/frac": File("f", time=T2 + 0.75)},
)
case(
    "copy-capability",
    "FROM box:1\nCOPY s /dest\n",
    files={
        "s/f": File(
            "f",
            0o755,
            attributes={"security.capability": bytes.fromhex("0100000200040000000000000000000000000000")},
        )
    },
)
case(
    "copy-capability-from-stage",
    "FROM box:1 AS s\nCOPY s /s\nFROM box:1\nCOPY --from=s /s /dest\n",
    files={
        "s/f": File(
            "f",
            0o755,
            attributes={"security.capability": bytes.fromhex("0100000200040000000000000000000000000000")},
        )
    },
)

# -- owner and mode

case(
    "copy-chown-name",
    "FROM box:1\nCOPY --chown=user a /a\nCOPY --chown=user:extra d /d\nCOPY --chown=nobody: b /b\n",
    files=TREE,
    differs={},
)
case(
    "copy-chown-number",
    "FROM box:1\nCOPY --chown=12 a /a\nCOPY --chown=12:34 d /new/d\nCOPY --chown=0:7 b /b\n",
    files=TREE,
)
case("copy-chown-mixed", "FROM box:1\nCOPY --chown=user:7 a /a\nCOPY --chown=7:user b /b\n", files=TREE)
case("copy-chown-made-parents", "FROM box:1\nCOPY --chown=12:34 a /new/deep/a\n", files=TREE)
case("copy-chown-existing-folder", "FROM box:1\nRUN mkdir /dest\nCOPY --chown=12:34 d /dest\n", files=TREE)
case(
    "copy-chown-unknown",
    "FROM box:1\nCOPY --chown=nosuch a /a\n",
    files=TREE,
    differs={"verdict": "a name that the image has not is a slip, and told"},
)
case("copy-chown-in-scratch", "FROM scratch\nCOPY --chown=1:2 a /a\n", files=TREE)
case("copy-chown-name-in-scratch", "FROM scratch\nCOPY --chown=user a /a\n", files=TREE, fails="user|passwd")
case(
    "copy-chown-from-stage",
    "FROM box:1 AS s\nRUN mkdir /s && echo f > /s/f && chown -R 5:6 /s\nFROM box:1\nCOPY --from=s /s /kept\nCOPY --from=s --chown=user /s /mine\n",
)
case("copy-user-does-not-count", "FROM box:1\nUSER user\nCOPY a /made/a\n", files=TREE)
case(
    "copy-chmod-octal",
    "FROM box:1\nCOPY --chmod=640 a /a\nCOPY --chmod=0755 b /b\nCOPY --chmod=4711 b /s\n",
    files=TREE,
)
case(
    "copy-chmod-folder",
    "FROM box:1\nCOPY --chmod=750 d /d\nCOPY --chmod=600 d /new/deep\n",
    files=TREE,
    changed={"tree": "the folder itself and its parents kept 0755"},
)
case(
    "copy-chmod-link",
    "FROM box:1\nCOPY --chmod=600 s /dest\n",
    files={"s/f": "f", "s/l": Link("f")},
    changed={"tree": "the folder itself and its parents kept 0755"},
)
case(
    "copy-chmod-invalid",
    "FROM box:1\nCOPY --chmod=xyz a /a\n",
    files=TREE,
    fails="invalid",
    changed={"verdict": "what was no octal number was looked over"},
)
case(
    "copy-chmod-too-big",
    "FROM box:1\nCOPY --chmod=17777 a /a\n",
    files=TREE,
    fails="invalid chmod",
    changed={"verdict": "what was no octal number was looked over"},
)
case("copy-chmod-symbolic", "FROM box:1\nCOPY --chmod=u=rw,go=r b /b\nCOPY --chmod=+x a /a\n", files=TREE, since=(1, 14),
     older="FROM box:1\nCOPY --chmod=644 b /b\nCOPY --chmod=755 a /a\n")  # fmt: skip
case("copy-chmod-symbolic-folder", "FROM box:1\nCOPY --chmod=u=rwX,go=rX d /d\n", files={"d": Folder(0o700), "d/f": File("f", 0o600), "d/x": File("x", 0o700)}, since=(1, 14))  # fmt: skip

# -- --link, --parents, --exclude, --from

case(
    "copy-link-flag",
    "FROM box:1\nCOPY --link a /a\nCOPY --link d /new/dest\nCOPY --link a b /many/\n",
    files=TREE,
)
case("copy-link-flag-false", "FROM box:1\nCOPY --link=false a /a\n", files=TREE)
case("copy-link-flag-chown", "FROM box:1\nCOPY --link --chown=12:34 --chmod=600 a /a\n", files=TREE)
case(
    "copy-link-flag-chown-name",
    "FROM box:1\nCOPY --link --chown=user a /a\n",
    files=TREE,
    fails="invalid user index",
    differs={"verdict": "names are those of the image also for a linked copy"},
    changed={"verdict": "gave root"},
)
case(
    "copy-link-flag-over-link",
    "FROM box:1\nRUN mkdir /real && ln -s real /l\nCOPY --link a /l/a\n",
    files=TREE,
    changed={"tree": "a linked layer was merged by copying"},
)
case(
    "copy-link-flag-over-file",
    "FROM box:1\nRUN echo old > /f\nCOPY --link a /f\nRUN cat /f > /g\n",
    files=TREE,
)
case(
    "copy-link-flag-existing-folder",
    "FROM box:1\nRUN mkdir -m 700 /dest && touch /dest/kept\nCOPY --link d /dest\n",
    files=TREE,
    changed={"tree": "a linked layer was merged by copying"},
)
case(
    "copy-link-flag-from",
    "FROM box:1 AS s\nRUN echo s > /s && chown 5:6 /s\nFROM box:1\nCOPY --link --from=s /s /d/s\n",
)
case("copy-link-flag-workdir", "FROM box:1\nWORKDIR /w\nCOPY --link a ./x/\n", files=TREE)
case("copy-parents", "FROM box:1\nCOPY --parents d/e/three a /dest/\n", files=TREE, since=(1, 20))  # fmt: skip
case("copy-exclude", "FROM box:1\nCOPY --exclude=e --exclude=t* d /dest\n", files=TREE, since=(1, 19),
     older="FROM box:1\nCOPY d /dest\nRUN rm -r /dest/e /dest/two && touch -d @1234567890 /dest\n")  # fmt: skip
case("copy-from-stage-number", "FROM box:1\nRUN echo s > /s\nFROM box:1\nCOPY --from=0 /s /d/\n")
case("copy-from-image", "FROM scratch\nCOPY --from=box:1 /etc/passwd /p\nCOPY --from=full:1 /etc /e\n")
case("copy-from-relative", "FROM box:1 AS s\nWORKDIR /w\nRUN echo s > s\nFROM box:1\nCOPY --from=s w/s /s\n")
case(
    "copy-from-links",
    "FROM box:1 AS s\nRUN mkdir /d && cd /d && echo f > f && ln f g && ln -s f l && ln -s /d /abs && mkfifo p 2>/dev/null || mknod p p\nFROM box:1\nCOPY --from=s /d /dest\nCOPY --from=s /abs/f /by-link\nCOPY --from=s /d/l /l\n",
)
case(
    "copy-from-times",
    "FROM box:1 AS s\nRUN mkdir /d && touch -d '2003-04-05 06:07:08' /d/f && touch -d '1999-01-01 00:00:00' /d\nFROM box:1\nCOPY --from=s /d /dest\n",
)
case(
    "copy-from-devices",
    "FROM box:1 AS s\nRUN mkdir /d && mknod /d/null c 1 3\nFROM box:1\nCOPY --from=s /d /dest\n",
)
case(
    "copy-from-wildcard",
    "FROM box:1 AS s\nRUN mkdir /d && touch /d/a1 /d/a2 /d/b\nFROM box:1\nCOPY --from=s /d/a* /dest/\n",
)
case("copy-from-root", "FROM box:1 AS s\nRUN echo s > /s\nFROM scratch\nCOPY --from=s / /\n")
case("copy-from-scratch-stage", "FROM scratch AS s\nCOPY a /a\nFROM scratch\nCOPY --from=s / /\n", files=TREE)
case("copy-from-missing", "FROM box:1 AS s\nFROM box:1\nCOPY --from=s /none /x\n", fails="none")
case("copy-from-absent-stage", "FROM box:1\nCOPY --from=absent-stage /a /a\n", fails="absent-stage")
case(
    "copy-from-later-stage",
    "FROM box:1 AS a\nCOPY --from=b /x /x\nFROM box:1 AS b\nRUN touch /x\n",
    fails="b",
    options="--target a",
)
case("copy-from-itself", "FROM box:1 AS a\nCOPY --from=a /x /x\n", fails="circular|a")
case("copy-from-number-too-high", "FROM box:1\nCOPY --from=3 /a /a\n", fails="3|invalid")
case(
    "copy-from-context",
    "FROM box:1\nCOPY --from=other f /f\nCOPY --from=other . /all\n",
    beside={"other/f": "f", "other/d/g": "g"},
    options="--build-context other=other",
)
case("copy-from-upper-dots", "FROM box:1 AS s\nRUN echo s > /s\nFROM box:1\nCOPY --from=s ../../s /s\n")
case(
    "copy-ignores-case-of-flags", "FROM box:1\nCOPY --CHOWN=1 a /a\n", files=TREE, fails="unknown flag|CHOWN"
)
case("copy-unknown-flag", "FROM box:1\nCOPY --chwon=1 a /a\n", files=TREE, fails="unknown flag")
case("copy-flag-twice", "FROM box:1\nCOPY --chown=1 --chown=2 a /a\n", files=TREE, fails="[Dd]uplicate flag")
