"""What is no Dockerfile: refused by both, for the reason meant."""

from cases.case import case


def bad(name: str, text: str, why: str, **more: object) -> None:
    case(f"bad-{name}", text, fails=why, **more)


bad("empty", "", "empty|cannot be empty")
bad("only-comments", "# nothing\n\n", "no build stage|empty|file with no instructions")
bad("no-from", "RUN echo a\n", "no build stage")
bad(
    "arg-only", "ARG A=b\n", "no build stage|no stages", since=(1, 10)
)  # before, BuildKit's daemon ends on it
bad("unknown-instruction", "FROM box:1\nRUM echo a\n", "unknown instruction")
bad("copied-text", "FROM box:1\necho a\n", "unknown instruction")
bad("from-no-argument", "FROM\n", "FROM requires")
bad("from-two-words", "FROM box:1 b\n", "FROM requires")
bad("from-four-words", "FROM box:1 AS b c\n", "FROM requires")
bad("from-bad-name", "FROM box:1 AS 1st\n", "invalid name|stage")
bad("from-bad-name-slash", "FROM box:1 AS a/b\n", "invalid name|stage")
bad("from-reference", "FROM BOX:1\n", "invalid reference|lowercase")
bad("from-empty-arg", "ARG I\nFROM $I\n", "should not be blank|empty|base name")
bad("from-unset-arg", "FROM $UNSET\n", "should not be blank|empty|base name")
bad("from-unset-platform", "FROM --platform=$UNSET box:1\nLABEL a=b\n", "platform")
bad("from-bad-platform", "FROM --platform=a/b/c/d box:1\n", "platform|invalid")
bad("from-unknown-flag", "FROM --plat=linux/amd64 box:1\n", "unknown flag")
bad("run-empty", "FROM box:1\nRUN\n", "", differs={"verdict": "a RUN of nothing is a slip, and told"})
bad("run-unknown-flag", "FROM box:1\nRUN --moun=type=tmpfs,target=/t true\n", "unknown flag")
bad("run-bad-network", "FROM box:1\nRUN --network=odd true\n", "network")
bad("run-network-host", "FROM box:1\nRUN --network=host true\n", "network.host|not allowed|entitlement")
bad(
    "run-security-insecure", "FROM box:1\nRUN --security=insecure true\n", "insecure|not allowed|unknown flag"
)
bad("env-no-value", "FROM box:1\nENV A\n", "must have two arguments")
bad("env-mixed", "FROM box:1\nENV A=b C\n", "can't find =")
bad("env-no-name", "FROM box:1\nENV =b\n", "blank")
bad("env-empty", "FROM box:1\nENV\n", "requires at least one argument")
bad("label-mixed", "FROM box:1\nLABEL a=b c\n", "can't find =")
bad("label-no-name", "FROM box:1\nLABEL =b\n", "blank")
bad("arg-empty", "FROM box:1\nARG\n", "requires at least one argument")
bad("arg-no-name", "FROM box:1\nARG =b\n", "blank|can not")
bad("expose-word", "FROM box:1\nEXPOSE http\n", "[Ii]nvalid containerPort|port")
bad("expose-too-high", "FROM box:1\nEXPOSE 65536\n", "[Ii]nvalid|port")
bad("expose-range", "FROM box:1\nEXPOSE 10-5\n", "[Ii]nvalid|range|port")
bad("expose-protocol", "FROM box:1\nEXPOSE 80/odd\n", "invalid proto|proto")
bad("expose-empty", "FROM box:1\nEXPOSE\n", "requires at least one argument")
bad("volume-empty", "FROM box:1\nVOLUME\n", "requires at least one argument")
bad("volume-blank", 'FROM box:1\nVOLUME [""]\n', "empty string|VOLUME")
bad("user-empty", "FROM box:1\nUSER\n", "requires exactly one argument")
bad("user-two", "FROM box:1\nUSER a b\n", "")
bad("workdir-empty", "FROM box:1\nWORKDIR\n", "requires exactly one argument")
bad("workdir-on-file", "FROM box:1\nWORKDIR /etc/passwd\n", "not a directory|exists")
bad("stopsignal-odd", "FROM box:1\nSTOPSIGNAL ODD\n", "[Ii]nvalid signal")
bad("stopsignal-empty", "FROM box:1\nSTOPSIGNAL\n", "requires exactly one argument")
bad("healthcheck-empty", "FROM box:1\nHEALTHCHECK\n", "requires at least one argument")
bad("healthcheck-odd-type", "FROM box:1\nHEALTHCHECK RUN true\n", "[Uu]nknown type")
bad("healthcheck-no-command", "FROM box:1\nHEALTHCHECK CMD\n", "[Mm]issing command")
bad("healthcheck-none-more", "FROM box:1\nHEALTHCHECK NONE x\n", "no arguments|NONE")
bad(
    "healthcheck-interval",
    "FROM box:1\nHEALTHCHECK --interval=5 CMD true\n",
    "missing unit|interval|duration",
)
bad(
    "healthcheck-too-short",
    "FROM box:1\nHEALTHCHECK --interval=500us CMD true\n",
    "interval|short|less|minimum|cannot be",
)
bad(
    "healthcheck-retries",
    "FROM box:1\nHEALTHCHECK --retries=-1 CMD true\n",
    "retries|negative|[Ii]nvalid|at least",
)
bad("healthcheck-flag", "FROM box:1\nHEALTHCHECK --inter=5s CMD true\n", "unknown flag")
bad("shell-not-json", "FROM box:1\nSHELL /bin/sh -c\n", "JSON")
bad("shell-empty", "FROM box:1\nSHELL []\n", "at least one argument|SHELL")
bad("onbuild-empty", "FROM box:1\nONBUILD\n", "requires at least one argument")
bad("onbuild-onbuild", "FROM box:1\nONBUILD ONBUILD RUN a\n", "chain|ONBUILD ONBUILD")
bad("onbuild-from", "FROM box:1\nONBUILD FROM box:1\n", "isn't allowed as an ONBUILD trigger|allowed")
bad("onbuild-maintainer", "FROM box:1\nONBUILD MAINTAINER x\n", "allowed")
bad(
    "onbuild-unknown",
    "FROM bad-onbuild-unknown-1:1\n",
    "unknown instruction|NOSUCH",
    before="FROM box:1\nONBUILD NOSUCH x\n",
)
bad("maintainer-empty", "FROM box:1\nMAINTAINER\n", "requires exactly one argument")
bad("heredoc-open", "FROM box:1\nRUN <<EOT\necho a\n", "unterminated heredoc|heredoc")
bad("heredoc-cmd", "FROM box:1\nCMD <<EOT\necho a\nEOT\n", "unknown instruction|heredoc")
bad("copy-empty", "FROM box:1\nCOPY\n", "requires at least")
bad("copy-json-one", 'FROM box:1\nCOPY ["a"]\n', "requires at least")
bad(
    "copy-heredoc-no-slash",
    "FROM box:1\nCOPY <<A <<B /x\na\nA\nb\nB\n",
    "",
    differs={"verdict": "one name for several files is a slip, and told"},
)
bad("stage-circle", "FROM b AS a\nFROM a AS b\n", "b|circular", options="--target a")
bad("escape-directive", "# escape=x\nFROM box:1\n", "invalid ESCAPE|escape")
bad("directive-twice", "# escape=`\n# escape=`\nFROM box:1\n", "only one|escape")
bad("build-arg-required", "FROM box:1\nARG V\nENV A=${V:?give me V}\n", "give me V|V")
