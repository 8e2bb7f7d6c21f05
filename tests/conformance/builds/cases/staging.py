"""Stages: which are built, what they hand on."""

from cases.case import case

case(
    "stage-copy",
    "FROM box:1 AS build\nWORKDIR /src\nCOPY a .\nRUN cat a a > out\nFROM scratch\nCOPY --from=build /src/out /out\n",
    files={"a": "a\n"},
)
case(
    "stage-from-stage",
    "FROM box:1 AS base\nENV A=b\nRUN echo x > /x\nFROM base AS next\nLABEL l=m\nFROM next\nRUN echo $A > /y\n",
)
case(
    "stage-diamond",
    "FROM box:1 AS base\nRUN echo base > /base\nFROM base AS l\nRUN echo l > /l\nFROM base AS r\nRUN echo r > /r\nFROM scratch\nCOPY --from=l /l /base /d/\nCOPY --from=r /r /d/\n",
)
case("stage-unused-not-built", "FROM box:1 AS broken\nRUN exit 1\nFROM box:1\nLABEL a=b\n")
case("stage-target", "FROM box:1 AS one\nLABEL n=1\nFROM box:1 AS two\nLABEL n=2\n", options="--target one")
case("stage-target-upper", "FROM box:1 AS one\nLABEL n=1\nFROM box:1\nLABEL n=2\n", options="--target ONE")
case(
    "stage-target-number",
    "FROM box:1\nLABEL n=1\nFROM box:1\nLABEL n=2\n",
    options="--target 0",
    fails="0",
    differs={"verdict": "a stage without a name is asked for by its number"},
)
case("stage-target-missing", "FROM box:1 AS one\nFROM box:1\n", options="--target three", fails="three")
case("stage-same-name-as-image", "FROM box:1 AS box\nLABEL a=1\nFROM box\nLABEL b=2\n")
case(
    "stage-name-again",
    "FROM box:1 AS a\nRUN echo 1 > /n\nFROM box:1 AS a\nRUN echo 2 > /n\nFROM scratch\nCOPY --from=a /n /n\n",
)
case(
    "stage-name-with-dots",
    "FROM box:1 AS my_stage-1.2\nRUN echo 1 > /n\nFROM scratch\nCOPY --from=my_stage-1.2 /n /n\n",
)
case("stage-scratch-base", "FROM scratch AS s\nCOPY a /a\nFROM s\nCOPY a /b\n", files={"a": "a"})
case("stage-config-not-copied", "FROM full:1 AS a\nFROM box:1\nCOPY --from=a /etc/passwd /p\n")
case("stage-inherits-config", "FROM full:1 AS a\nFROM a\nLABEL x=y\n")
case(
    "stage-many",
    "FROM box:1 AS s0\nRUN echo 0 > /n0\n"
    + "".join(f"FROM s{n} AS s{n + 1}\nRUN echo {n + 1} > /n{n + 1}\n" for n in range(6)),
)
case(
    "stage-many-copies",
    "".join(f"FROM box:1 AS s{n}\nRUN echo {n} > /n\n" for n in range(5))
    + "FROM scratch\n"
    + "".join(f"COPY --from=s{n} /n /n{n}\n" for n in range(5)),
)
case(
    "stage-by-arg",
    "ARG WHICH=a\nFROM box:1 AS a\nLABEL n=a\nFROM box:1 AS b\nLABEL n=b\nFROM ${WHICH} AS final\n",
    options="--build-arg WHICH=b",
)
case(
    "stage-mount-only",
    "FROM box:1 AS s\nRUN echo s > /s\nFROM box:1\nRUN --mount=from=s,target=/m cp /m/s /s\n",
)
case(
    "stage-overlapping-layers",
    "FROM box:1 AS s\nRUN mkdir /d && echo 1 > /d/a && echo 1 > /d/b\nRUN rm /d/a && echo 2 > /d/b\nFROM scratch\nCOPY --from=s /d /d\n",
)
case(
    "stage-replaced-by-context",
    "FROM box:1 AS s\nRUN exit 1\nFROM scratch\nCOPY --from=s /f /f\n",
    beside={"other/f": "f"},
    options="--build-context s=other",
)
case(
    "image-replaced-by-image",
    "FROM nosuch:5\nLABEL a=b\n",
    options="--build-context nosuch:5=docker-image://box:1",
)
case("image-by-full-name", "FROM docker.io/library/box:1\nLABEL a=b\n")
case("image-absent", "FROM nosuch-image:1\n", fails="nosuch-image")
