"""Instructions that change the config: each in all its forms."""

from cases.case import case

# -- CMD and ENTRYPOINT

case("cmd-exec", 'FROM box:1\nCMD ["echo", "a b", "$HOME"]\n')
case("cmd-shell", "FROM box:1\nCMD echo  $HOME   'a b'\n")
case("cmd-not-json", "FROM box:1\nCMD ['echo', 'single quotes are no JSON']\n")
case("cmd-numbers", "FROM box:1\nCMD [1, 2]\n", fails="strings only")
case("cmd-json-over-lines", 'FROM box:1\nCMD [ "echo", \\\n  "a", \\\n  "b" ]\n')
case("cmd-json-escapes", 'FROM box:1\nCMD ["a\\tb", "\\u00e9", "\\"q\\"", "é"]\n')
case(
    "cmd-json-and-more",
    'FROM box:1\nCMD ["echo"] more\n',
    changed={"config": "the list alone counted", "history": "the list alone counted"},
)
case("cmd-empty-list", "FROM box:1\nCMD []\n")
case("cmd-empty", "FROM box:1\nCMD\n")
case("cmd-twice", 'FROM box:1\nCMD ["a"]\nCMD ["b"]\n')
case("cmd-other-shell", 'FROM box:1\nSHELL ["/bin/sh", "-ec"]\nCMD echo $0\n')
case("entrypoint-exec", 'FROM box:1\nENTRYPOINT ["/bin/echo", "x"]\n')
case("entrypoint-shell", "FROM box:1\nENTRYPOINT exec top -b\n")
case("entrypoint-empty", "FROM box:1\nENTRYPOINT\n")
case("entrypoint-empty-list", "FROM full:1\nENTRYPOINT []\n")
case("entrypoint-resets-cmd-of-base", 'FROM full:1\nENTRYPOINT ["/bin/cat"]\n')
case("entrypoint-keeps-own-cmd", 'FROM full:1\nCMD ["x"]\nENTRYPOINT ["/bin/cat"]\n')
case("entrypoint-then-child", 'FROM box:1 AS a\nCMD ["mine"]\nFROM a\nENTRYPOINT ["e"]\n')

# -- ENV and LABEL

case(
    "env-forms",
    "FROM box:1\nENV A=1 B='two words' C=\"three $A\" D=es\\ caped\nENV OLD some  words 'kept'\nENV A=2\n",
)
case("env-same-line-sees-none", "FROM box:1\nENV A=old\nENV A=new B=$A\n")
case("env-empty-and-equals", 'FROM box:1\nENV A= B="" C=a=b=c D="x=y"\n')
case("env-quoted-name", 'FROM box:1\nENV "A"=b\n')
case("env-order-is-kept", "FROM box:1\nENV Z=1 A=2\nENV M=3 Z=4\n")
case("env-over-base", "FROM full:1\nENV BASE=other EMPTY=full\n")
case("env-path-extended", "FROM box:1\nENV PATH=/opt/bin:$PATH\nRUN echo $PATH > /path\n")
case("env-of-bare-base", "FROM bare:1\nENV A=b\nRUN echo $PATH > /path\n")
case("env-path-of-bare-base", "FROM bare:1\nENV PATH=/opt/bin:$PATH\n")
case("env-backslashes", "FROM box:1\nENV A=a\\\\b B=\"a\\\\b\" C='a\\\\b' D=a\\nb E=\"a\\nb\" F='a\\nb'\n")
case("env-newline-by-continuation", 'FROM box:1\nENV A="one \\\n  two" \\\n    B=3\n')
case("env-unicode", 'FROM box:1\nENV GRÜßE=straße EMOJI="☃ $GRÜßE"\n')
case("env-old-form-quotes", "FROM box:1\nENV A \"quoted  value\" 'x'\nENV B $A y\n")
case(
    "label-forms", 'FROM full:1\nLABEL over=mine "with space"="v w" multi="a \\\nb" empty= dotted.name-x=1\n'
)
case("label-old-form", "FROM box:1\nLABEL key some value\n")
case("label-expands", "FROM box:1\nARG V=1\nENV W=2\nLABEL $V=$W \"k$V\"='lit$W' x=${V:-9}\n")
case("label-many", "FROM box:1\n" + "".join(f"LABEL k{n}=v{n}\n" for n in range(40)))

# -- EXPOSE, VOLUME, USER, WORKDIR, STOPSIGNAL

case(
    "expose-forms",
    "FROM full:1\nARG P=99\nEXPOSE 80 443/tcp 53/udp 1000-1002 7000-7001/udp $P ${P}1/tcp\nEXPOSE 9/SCTP\n",
    changed={"history": "ports were told as a map"},
)
case("expose-quoted", 'FROM box:1\nEXPOSE "8080"\n', changed={"history": "ports were told as a map"})
case(
    "expose-host-port",
    "FROM box:1\nEXPOSE 8080:80 127.0.0.1:90:91\n",
    changed={"history": "ports were told as a map"},
)
case("volume-forms", 'FROM full:1\nARG V=/x\nVOLUME /a /b/c $V/y\nVOLUME ["/j", "/k l", "$V"]\n')
case("volume-relative-and-dirty", "FROM box:1\nVOLUME rel /a/../b /c/\n")
case("volume-then-run", "FROM box:1\nVOLUME /v\nRUN mkdir -p /v && echo kept > /v/file\n")
case("volume-then-copy", "FROM box:1\nVOLUME /v\nCOPY a /v/a\n", files={"a": "a"})
case(
    "user-forms",
    "FROM box:1\nUSER user\nRUN id > /tmp/1\nUSER 1000:2000\nRUN id > /tmp/2\nUSER 4711\nRUN id > /tmp/3\nUSER nobody:extra\nRUN id > /tmp/4\n",
)
case("user-expands", "FROM box:1\nARG U=user G=extra\nUSER ${U}:$G\n")
case("user-unknown-no-run", "FROM box:1\nUSER nosuch\n")
case("user-group-number-unknown", "FROM box:1\nUSER user:4242\nRUN id > /tmp/id\n")
case(
    "user-home",
    "FROM box:1\nUSER user\nRUN echo $HOME > /tmp/home\nUSER root\nRUN echo $HOME > /tmp/root\nUSER 777\nRUN echo $HOME > /tmp/777\n",
)
case("workdir-forms", "FROM box:1\nWORKDIR /a\nWORKDIR b/c\nWORKDIR ../d\nRUN pwd > /pwd\n")
case(
    "workdir-expands", 'FROM box:1\nENV D=/x\nARG E=y\nWORKDIR $D/$E\nWORKDIR "with space"\nRUN pwd > /pwd\n'
)
case(
    "workdir-owned-by-user", "FROM box:1\nUSER user\nWORKDIR /w/x\nRUN stat -c '%u:%g %a' . .. > /tmp/stat\n"
)
case(
    "workdir-through-link",
    "FROM box:1\nRUN mkdir /real && ln -s real /link\nWORKDIR /link/sub\nRUN pwd > /pwd; pwd -P >> /pwd\n",
)
case("workdir-existing-keeps-mode", "FROM box:1\nRUN mkdir -m 700 /w && chown 5:6 /w\nWORKDIR /w\n")
case("workdir-root", "FROM full:1\nWORKDIR /\n")
case("workdir-trailing-slash", "FROM box:1\nWORKDIR /a/b/\nWORKDIR ./c//\n")
case("workdir-relative-first", "FROM box:1\nWORKDIR rel\nCOPY a .\n", files={"a": "a"})
case("workdir-in-scratch", "FROM scratch\nWORKDIR /deep/er\nCOPY a .\n", files={"a": "a"})
case("stopsignal-forms", "FROM box:1\nARG S=SIGTERM\nSTOPSIGNAL $S\n")
case("stopsignal-number", "FROM box:1\nSTOPSIGNAL 9\n")
case("stopsignal-name-without-sig", "FROM box:1\nSTOPSIGNAL quit\n")
case("stopsignal-realtime", "FROM box:1\nSTOPSIGNAL SIGRTMIN+3\n")
case("maintainer", "FROM box:1\nMAINTAINER Some One <some@example.org>\n")

# -- HEALTHCHECK and SHELL

case("healthcheck-none", "FROM full:1\nHEALTHCHECK NONE\n")
case("healthcheck-shell", "FROM box:1\nHEALTHCHECK CMD wget -q localhost || exit 1\n")
case("healthcheck-exec", 'FROM box:1\nHEALTHCHECK CMD ["test", "-f", "/ready"]\n')
case(
    "healthcheck-all",
    "FROM box:1\nHEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2h --start-interval=1.5s --retries=5 CMD true\n",
)
case("healthcheck-zero", "FROM box:1\nHEALTHCHECK --interval=0s --retries=0 CMD true\n")
case("healthcheck-no-expansion", "FROM box:1\nARG T=5s\nHEALTHCHECK CMD echo $T\n")
case("healthcheck-lower-case", "FROM box:1\nHEALTHCHECK cmd true\n")
case("healthcheck-inherited", "FROM full:1\nLABEL a=b\n")
case(
    "shell-used",
    'FROM box:1\nSHELL ["/bin/sh", "-xc"]\nRUN echo a > /a\nCMD b\nENTRYPOINT c\nHEALTHCHECK CMD d\n',
)
case(
    "shell-of-base",
    "FROM full:1\nUSER root\nRUN false; echo not reached > /x || true\n",
    fails="exit code: 1",
)
case("shell-in-child", 'FROM box:1 AS a\nSHELL ["/bin/sh", "-ec"]\nFROM a\nRUN echo $- > /flags\n')

# -- ONBUILD

case("onbuild-kept", "FROM box:1\nONBUILD RUN echo later > /later\nONBUILD COPY . /src\nONBUILD ENV A=$B\n")
case("onbuild-heredoc", "FROM box:1\nONBUILD COPY <<EOT /t\nhello\nEOT\n")
case(
    "onbuild-runs",
    "FROM onbuild-runs-1:1\nRUN cat /a > /b\n",
    before="FROM box:1\nONBUILD COPY a /a\nONBUILD ENV X=y\nONBUILD RUN echo $X > /x\n",
    files={"a": "text"},
)
case(
    "onbuild-not-inherited",
    "FROM onbuild-not-inherited-2:1\n",
    before=("FROM box:1\nONBUILD LABEL once=yes\n", "FROM onbuild-not-inherited-1:1\n"),
)
case(
    "onbuild-arg",
    "FROM onbuild-arg-1:1\nRUN echo $V > /after\n",
    before="FROM box:1\nONBUILD ARG V=def\nONBUILD RUN echo $V > /v\n",
    options="--build-arg V=given",
    changed={"history": "the value that counts was not told"},
)
case(
    "onbuild-copy-from-stage",
    "FROM box:1 AS src\nRUN echo s > /s\nFROM onbuild-copy-from-stage-1:1\n",
    before="FROM box:1\nONBUILD COPY --from=src /s /from-src\n",
    changed={"verdict": "a stage before was not found"},
)
case(
    "onbuild-in-middle-stage",
    "FROM onbuild-in-middle-stage-1:1 AS a\nFROM box:1\nCOPY --from=a /o /o\n",
    before="FROM box:1\nONBUILD RUN echo o > /o\n",
)
case(
    "onbuild-used-twice",
    "FROM onbuild-used-twice-1:1 AS a\nFROM onbuild-used-twice-1:1\nCOPY --from=a /o /other\n",
    before="FROM box:1\nONBUILD RUN echo o > /o\n",
)
case(
    "onbuild-workdir-user",
    "FROM onbuild-workdir-user-1:1\nRUN pwd > /tmp/pwd; id -u >> /tmp/pwd\n",
    before="FROM box:1\nONBUILD WORKDIR /srv\nONBUILD USER user\n",
)

# -- FROM

case("from-alone", "FROM full:1\n")
case("from-scratch-config", "FROM scratch\nENV A=b\nCOPY a /a\n", files={"a": "a"})
case("from-scratch-file", 'FROM scratch\nCOPY a /a\nCMD ["/a"]\n', files={"a": "a"})
case("from-as-upper-case", "FROM box:1 AS Build\nRUN echo x > /x\nFROM box:1\nCOPY --from=BUILD /x /x\n")
case("from-lower-case", "from box:1 as b\nrun echo x > /x\nfrom b\n")
case("from-platform", "FROM --platform=linux/amd64 box:1\nRUN true\nLABEL a=b\n")
case("from-platform-arg", "ARG P=linux/amd64\nFROM --platform=$P box:1\nLABEL a=b\n")
case(
    "from-build-platform",
    "FROM --platform=$BUILDPLATFORM box:1\nARG BUILDPLATFORM TARGETPLATFORM TARGETOS TARGETARCH BUILDARCH BUILDOS TARGETVARIANT\nRUN echo $BUILDPLATFORM $TARGETPLATFORM $TARGETOS $TARGETARCH $BUILDARCH $BUILDOS $TARGETVARIANT > /p\n",
    changed={"history": "the value that counts was not told"},
)
