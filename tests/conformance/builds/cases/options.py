"""Options of the build that show in the image."""

from cases.case import case

case("option-label", "FROM full:1\nLABEL mine=1 over=file\n", options="--label over=line --label new=2")
case("option-label-empty", "FROM box:1\n", options="--label a= --label b")
case(
    "option-file",
    "FROM box:1\nLABEL not=this\n",
    files={"sub/Other": "FROM box:1\nLABEL this=one\n", "a": "a"},
    options="-f @/sub/Other",
)
case("option-stdin", "", stdin="FROM box:1\nLABEL from=stdin\nRUN echo a > /a\n", options="-")
case(
    "option-stdin-copy", "", stdin="FROM box:1\nCOPY a /a\n", options="-", files={"a": "a"}, fails="not found"
)
case(
    "option-stdin-file",
    "FROM box:1\nLABEL not=this\n",
    stdin="FROM box:1\nCOPY a /a\n",
    options="-f - @",
    files={"a": "a"},
)
case("option-network-none", "FROM box:1\nRUN ls /sys/class/net > /net\n", options="--network=none")
case(
    "option-network-host",
    "FROM box:1\nRUN wget -q -O /f http://127.0.0.1:8000/file.txt\n",
    options="--network=host",
)
case(
    "option-add-host",
    "FROM box:1\nRUN grep there /etc/hosts > /h\n",
    options="--add-host there:10.1.2.3",
)
case(
    "option-platform",
    "FROM box:1\nARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM > /p\n",
    options="--platform linux/amd64",
    changed={"history": "the value that counts was not told"},
)
case("option-no-cache", "FROM box:1\nRUN echo a > /a\n", options="--no-cache")
case(
    "option-no-cache-filter",
    "FROM box:1 AS one\nRUN echo a > /a\nFROM one\nRUN echo b > /b\n",
    options="--no-cache-filter one",
)
case(
    "option-shm-size",
    "FROM box:1\nRUN df -k /dev/shm | tail -1 | sed 's/  */ /g' | cut -d' ' -f2 > /n\n",
    options="--shm-size 32m",
)
case(
    "option-ulimit",
    "FROM box:1\nRUN ulimit -n > /n; ulimit -Hn >> /n\n",
    options="--ulimit nofile=100:200",
)
case(
    "option-containerfile",
    "",
    files={"Containerfile": "FROM box:1\nLABEL a=b\n", "Dockerfile": ""},
    fails="empty|no build stage|Dockerfile",
)
case("option-no-dockerfile", "", options="-f @/none", fails="none|no such file")
case(
    "option-secret-missing-file",
    "FROM box:1\n",
    options="--secret id=a,src=none",
    fails="none|no such file|stat",
)
case(
    "option-build-context-missing",
    "FROM box:1\nCOPY --from=x a /a\n",
    options="--build-context x=none",
    fails="none|not found|no such",
)
case("option-unknown", "FROM box:1\n", options="--nosuch", fails="unknown flag")
