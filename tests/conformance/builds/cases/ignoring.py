"""`.dockerignore`: which files of a context there are."""

from cases.case import File, Link, case

TREE = {
    "a.txt": "1", "b.md": "2", "Makefile": "3", ".hidden": "4",
    "docs/a.txt": "5", "docs/b.md": "6", "docs/deep/c.txt": "7", "docs/deep/er/d.md": "8",
    "src/a.txt": "9", "src/lib/x.c": "10", "src/lib/x.h": "11", "node_modules/m/i.js": "12", "src/node_modules/n.js": "13",
}  # fmt: skip


def ignore(name: str, text: str, **more: object) -> None:
    case(f"ignore-{name}", "FROM box:1\nCOPY . /c/\n", files={**TREE, ".dockerignore": text}, **more)


ignore("file", "a.txt\n")
ignore("folder", "docs\n")
ignore("folder-slash", "docs/\n/src/\n")
ignore("star", "*.txt\n")
ignore("star-in-folder", "docs/*.md\n*/deep\n")
ignore("double-star", "**/*.txt\n")
ignore("double-star-folder", "**/node_modules\n")
ignore("double-star-end", "docs/**\n")
ignore("double-star-middle", "docs/**/d.md\n")
ignore("double-star-alone", "**\n")
ignore("question", "?.txt\ndocs/?.md\n")
ignore("class", "[ab].*\n[^a]*file\n")
ignore("all-but", "*\n!src\n")
ignore("all-but-deep", "*\n!docs/deep/c.txt\n")
ignore("all-but-pattern", "**\n!**/*.txt\n")
ignore("back-and-forth", "*.md\n!b.md\nb.*\n!docs\ndocs/deep\n")
ignore("negated-star", "docs\n!docs/*.md\n")
ignore("comments-and-blanks", "# docs\n\n  \n  a.txt  \n#src\n")
ignore("leading-dot", "./docs\n./a.txt\n")
ignore("dot-dot", "../x\ndocs/../src\n")
ignore("escaped", "\\#x\n\\!y\na\\.txt\n")
ignore("crlf", "docs\r\na.txt\r\n")
ignore("bom", "\ufeffdocs\n")
ignore("case-matters", "DOCS\nmakefile\n")
ignore("hidden", ".*\n")
ignore("itself", ".dockerignore\nDockerfile\n")
ignore("empty", "")
ignore("slash-alone", "/\n")
ignore("dot-alone", ".\n")
ignore("folder-star-star", "docs/*\n!docs/deep\n")
ignore("bad-pattern", "[\n", fails="pattern")
case(
    "ignore-named-copy",
    "FROM scratch\nCOPY docs/a.txt /x\n",
    files={**TREE, ".dockerignore": "docs\n"},
    fails="docs/a.txt.*not found|excluded|no such file",
)
case(
    "ignore-named-copy-back",
    "FROM scratch\nCOPY docs /docs\n",
    files={**TREE, ".dockerignore": "docs\n!docs/deep/er\n"},
)
case(
    "ignore-wildcard-copy",
    "FROM scratch\nCOPY *.txt /d/\n",
    files={**TREE, "c.txt": "c", ".dockerignore": "a.txt\n"},
)
case(
    "ignore-not-from-stage",
    "FROM box:1 AS s\nRUN mkdir /docs && echo s > /docs/s\nFROM scratch\nCOPY --from=s /docs /docs\n",
    files={**TREE, ".dockerignore": "docs\n"},
)
case(
    "ignore-of-dockerfile",
    "FROM scratch\nCOPY . /\n",
    files={**TREE, ".dockerignore": "a.txt\n", "Dockerfile.dockerignore": "docs\n"},
)
case("ignore-of-other-dockerfile", "FROM scratch\nCOPY . /\n", options="-f @/build/My.Dockerfile",
     files={**TREE, "build/My.Dockerfile": "FROM scratch\nCOPY . /\n", "build/My.Dockerfile.dockerignore": "docs\nsrc\n", ".dockerignore": "a.txt\n"})  # fmt: skip
case(
    "ignore-links",
    "FROM scratch\nCOPY . /\n",
    files={**TREE, "l": Link("docs"), "docs2": Link("docs"), ".dockerignore": "docs\nl\n"},
)
case(
    "ignore-keeps-modes",
    "FROM scratch\nCOPY . /\n",
    files={"d/x": File("x", 0o750), "d/y": "y", ".dockerignore": "d/y\n"},
)
case(
    "ignore-named-context",
    "FROM scratch\nCOPY --from=other . /\n",
    beside={"other/a.txt": "a", "other/b": "b", "other/.dockerignore": "a.txt\n"},
    options="--build-context other=other",
)
