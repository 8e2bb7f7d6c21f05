"""Variables: where they are replaced, what of, and which value counts."""

from cases.case import case

PICK = "FROM box:1\nARG SET=value\nARG EMPTY=\nARG P=/usr/local/lib/libx.so.1\n"

case(
    "expand-forms",
    PICK + "ENV A=$SET B=${SET} C=${SET}x D=x$SET E=\"$SET\" F='$SET' G=$UNSET H=${UNSET}z I=$SET$SET\n",
)
case(
    "expand-defaults",
    PICK + "ENV A=${SET:-d} B=${EMPTY:-d} C=${UNSET:-d} D=${SET-d} E=${EMPTY-d} F=${UNSET-d}\n",
)
case(
    "expand-alternatives",
    PICK + "ENV A=${SET:+d} B=${EMPTY:+d} C=${UNSET:+d} D=${SET+d} E=${EMPTY+d} F=${UNSET+d}\n",
)
case(
    "expand-nested",
    PICK + 'ENV A=${UNSET:-${SET}} B=${UNSET:-${EMPTY:-${SET}-x}} C=${SET:+${P}} D="${UNSET:-a b}"\n',
)
case("expand-required-set", PICK + "ENV A=${SET:?no} B=${EMPTY?no}\n")
case("expand-required-empty", PICK + "ENV A=${EMPTY:?is empty}\n", fails="EMPTY")
case("expand-required-unset", PICK + "ENV A=${UNSET?is unset}\n", fails="UNSET")
case("expand-prefix", PICK + "ENV A=${P#*/} B=${P##*/} C=${P#x} D=${P#/usr/*/}\n")
case("expand-suffix", PICK + "ENV A=${P%/*} B=${P%%/*} C=${P%.*} D=${P%%.*} E=${P%x}\n")
case("expand-replace", PICK + "ENV A=${P/l/L} B=${P//l/L} C=${P//\\//_} D=${P/lib} E=${P//l?b/#} F=${P/*x/}\n",
     fails="unsupported modifier|failed to process")  # fmt: skip
case("expand-positional", "FROM box:1\nENV A=$1x B=${2}y C=$0 D=$@ E=$*\n")
case("expand-specials", 'FROM box:1\nENV A=$ B=a$ C=$$ D="$" E=a$-b\n')
case("expand-names-end", "FROM box:1\nARG a=1 a_b=2 a1=3\nENV A=$a-b B=$a_b C=$a1x D=$a.b E=$a/b F=$a:b\n")
case("expand-case-matters", "FROM box:1\nARG foo=1 FOO=2\nENV A=$foo B=$FOO C=$Foo\n")
case(
    "expand-in-copy", 'FROM box:1\nARG F=a D=/d\nCOPY $F ${D}/$F\nCOPY ["${F}", "/j $F"]\n', files={"a": "a"}
)
case("expand-in-add", "FROM box:1\nARG F=a\nADD $F /x/$F/\n", files={"a": "a"})
case(
    "expand-in-chown-chmod",
    "FROM box:1\nARG O=user M=600\nCOPY --chown=$O --chmod=$M a /a\n",
    files={"a": "a"},
    changed={"history": "--chmod was not expanded", "tree": "--chmod was not expanded"},
)
case("expand-in-from", "ARG NAME=box\nARG TAG=1\nFROM ${NAME}:${TAG}\nLABEL a=$NAME\n")
case("expand-not-in-run", "FROM box:1\nARG A=b\nRUN echo '$A' $A > /a\n")
case("expand-not-in-cmd", 'FROM box:1\nARG A=b\nCMD ["$A"]\nENTRYPOINT echo $A\n')
case("expand-copy-unset-name", "FROM box:1\nCOPY a$UNSET /a\n", files={"a": "a"})
case(
    "expand-word-with-blanks",
    "FROM box:1\nARG W='a b'\nCOPY $W /d/\n",
    files={"a": "a", "b": "b", "a b": "both"},
)
case("expand-quoted-word-with-blanks", 'FROM box:1\nARG W="a b"\nCOPY "$W" /d/\n', files={"a b": "both"})
case(
    "expand-expose-blanks",
    "FROM box:1\nARG P='80 81'\nEXPOSE $P\n",
    changed={"history": "ports were told as a map"},
)
case("expand-volume-blanks", "FROM box:1\nARG P='/a /b'\nVOLUME $P\n")
case(
    "expand-stage-name",
    "FROM box:1 AS one\nRUN echo 1 > /n\nFROM box:1\nARG S=one\nCOPY --from=$S /n /n\n",
    fails="not support|one|invalid|pull access|fail",
)
case(
    "expand-onbuild-late",
    "FROM expand-onbuild-late-1:1\n",
    before="FROM box:1\nENV X=base\nONBUILD ENV Y=$X\nONBUILD RUN echo $Y > /y\n",
)
case(
    "expand-quotes-in-default",
    PICK + "ENV A=${UNSET:-\"q\"} B=${UNSET:-'q'} C=\"${UNSET:-'q'}\" D=${UNSET:-a\\}b}\n",
)
case("expand-escaped-brace", "FROM box:1\nARG A=x\nENV B=\\${A} C=$\\{A}\n")
case("expand-unclosed-brace", "FROM box:1\nENV A=${B\n", fails="syntax error|failed to process|missing")
case("expand-bad-name", "FROM box:1\nENV A=${}\n", fails="bad substitution|failed to process")
case(
    "expand-unclosed-quote",
    "FROM box:1\nLABEL a='b\n",
    fails="unexpected end of statement|quote|failed to process",
)

# -- ARG

case("arg-default", "FROM box:1\nARG A=1\nRUN echo $A > /a\n")
case(
    "arg-given",
    "FROM box:1\nARG A=1\nRUN echo $A > /a\n",
    options="--build-arg A=2",
    changed={"history": "the value that counts was not told"},
)
case(
    "arg-given-no-default",
    "FROM box:1\nARG A\nRUN echo $A > /a\nENV B=$A\n",
    options="--build-arg A=2",
    changed={"history": "the value that counts was not told"},
)
case("arg-never-given", 'FROM box:1\nARG A\nRUN echo "${A-unset}" > /a\n')
case(
    "arg-given-empty",
    'FROM box:1\nARG A=1\nRUN echo "${A-unset}" > /a\n',
    options="--build-arg A=",
    changed={"history": "the value that counts was not told"},
)
case(
    "arg-from-environment",
    "FROM box:1\nARG A=1\nRUN echo $A > /a\n",
    options="--build-arg A",
    env={"A": "of-env"},
    changed={"history": "the value that counts was not told"},
)
case(
    "arg-several",
    "FROM box:1\nARG A=1 B=2 C D='x y'\nRUN echo $A $B $C $D > /a\n",
    options="--build-arg C=3",
    changed={"history": "the value that counts was not told"},
)
case(
    "arg-refers-earlier",
    "FROM box:1\nARG A=1\nARG B=$A-b C=${B:-none}\nRUN echo $B $C > /a\n",
    changed={
        "history": "words of one ARG did not see each other",
        "tree": "words of one ARG did not see each other",
    },
)
case("arg-twice", "FROM box:1\nARG A=1\nARG A=2\nRUN echo $A > /a\n", changed={"history": "was told twice"})
case(
    "arg-twice-given", "FROM box:1\nARG A=1\nARG A\nRUN echo $A > /a\n", changed={"history": "was told twice"}
)
case(
    "arg-and-env",
    "FROM box:1\nARG A=1\nENV A=env\nRUN echo $A > /a\n",
    options="--build-arg A=2",
    changed={"history": "the value that counts was not told"},
)
case("arg-after-env", "FROM box:1\nENV A=env\nARG A=arg\nRUN echo $A > /a\nENV B=$A\n")
case("arg-env-of-base", "FROM full:1\nUSER root\nARG BASE=arg\nRUN echo $BASE > /a\n")
case("arg-global-not-in-stage", 'ARG A=1\nFROM box:1\nRUN echo "${A-unset}" > /a\nLABEL a=$A\n')
case(
    "arg-global-asked-for",
    "ARG A=1\nFROM box:1\nARG A\nRUN echo $A > /a\n",
    changed={"history": "the value that counts was not told"},
)
case("arg-global-over", "ARG A=1\nFROM box:1\nARG A=stage\nRUN echo $A > /a\n")
case(
    "arg-global-given",
    "ARG A=1\nFROM box:1\nARG A\nRUN echo $A > /a\n",
    options="--build-arg A=2",
    changed={"history": "the value that counts was not told"},
)
case(
    "arg-global-refers",
    "ARG A=1\nARG B=$A.0\nFROM box:1\nARG B\nRUN echo $B > /a\n",
    changed={"history": "the value that counts was not told"},
)
case("arg-of-other-stage", 'FROM box:1 AS a\nARG A=1\nFROM box:1\nRUN echo "${A-unset}" > /a\n')
case(
    "arg-inherited-by-child",
    'FROM box:1 AS a\nARG A=1\nFROM a\nRUN echo "${A-unset}" > /a\n',
    changed={"history": "was not told in the child"},
)
case("arg-in-history", "FROM box:1\nARG A=1\nRUN true\nARG B=2\nRUN echo > /x\n")
case(
    "arg-proxy",
    "FROM box:1\nRUN echo $HTTP_PROXY $http_proxy $no_proxy > /p\n",
    options="--build-arg HTTP_PROXY=http://127.0.0.1:9 --build-arg no_proxy=x",
)
case(
    "arg-proxy-declared",
    "FROM box:1\nARG HTTPS_PROXY\nRUN echo $HTTPS_PROXY > /p\n",
    options="--build-arg HTTPS_PROXY=http://127.0.0.1:9",
    changed={"history": "the value that counts was not told"},
)
case("arg-unused", "FROM box:1\nLABEL a=b\n", options="--build-arg NOT=used")
case(
    "arg-platform-words",
    'FROM box:1\nRUN echo "$TARGETARCH|$TARGETPLATFORM" > /p\nARG TARGETARCH\nRUN echo $TARGETARCH > /q\n',
    changed={"history": "the value that counts was not told"},
)
case(
    "arg-targetstage",
    'FROM box:1 AS one\nARG TARGETSTAGE\nRUN echo "$TARGETSTAGE" > /s\n',
    options="--target one",
    changed={"history": "there was no TARGETSTAGE", "tree": "there was no TARGETSTAGE"},
)
case("arg-with-path", "FROM box:1\nARG PATH=/bin\nRUN echo $PATH > /p\n")
