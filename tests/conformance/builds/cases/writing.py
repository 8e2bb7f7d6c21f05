"""How a Dockerfile is written: comments, continuation lines, directives, here-documents."""

from cases.case import case

case(
    "write-comments",
    "# first\n\nFROM box:1\n  # indented\nRUN echo a > /a \\\n  # within\n  && echo '# not one' > /b # nor this\n",
)
case("write-trailing-blanks", "FROM box:1   \nENV A=b   \nLABEL c=d\t\n")
case("write-tabs", "FROM\tbox:1\nRUN\techo\ta\t>\t/a\nENV\tA=b\tC=d\n")
case("write-crlf", "FROM box:1\r\nENV A=b \\\r\n    C=d\r\nRUN echo x > /x\r\n")
case("write-crlf-heredoc", "FROM box:1\r\nCOPY <<EOT /t\r\none\r\ntwo\r\nEOT\r\n")
case("write-bom", "\ufeffFROM box:1\nLABEL a=b\n")
case("write-no-newline", "FROM box:1\nLABEL a=b")
case("write-indented", "   FROM box:1\n\tLABEL a=b\n")
case("write-case", "fRoM box:1\nLaBeL a=b\nrun echo x > /x\n")
case("write-empty-continuation", "FROM box:1\nRUN echo a \\\n\n  b \\\n\n  > /a\n")
case("write-comment-continuation", "FROM box:1\nRUN echo a \\\n# gone\n    # gone too\n  b > /a\n")
case("write-continuation-at-end", "FROM box:1\nLABEL a=b \\\n")
case("write-double-backslash-end", "FROM box:1\nRUN echo a\\\\\n")
case("write-continuation-in-word", "FROM box:1\nRUN ec\\\nho joined > /j\\\noined\n")
case("write-blank-after-backslash", "FROM box:1\nRUN echo a \\  \n  b > /a\n")
case(
    "write-escape-directive",
    "# escape=`\nFROM box:1\nENV A=a`$b B=c\\d\nRUN echo a `\n  b > /a\nLABEL p=C:\\\\x\n",
)
case("write-escape-directive-late", "# a comment first\n# escape=`\nFROM box:1\nRUN echo a \\\n b > /a\n")
case("write-escape-directive-upper", "#   Escape  =  `\nFROM box:1\nRUN echo a `\n b > /a\n")
case("write-unknown-directive", "# unknown=x\n# escape=`\nFROM box:1\nRUN echo a \\\n b > /a\n")
case("write-syntax-late", "FROM box:1\n# syntax=docker/dockerfile:1\nLABEL a=b\n")
case("write-escaped-dollar", "FROM box:1\nENV A=\\$HOME B='$HOME' C=\"\\$HOME\"\nRUN echo \\$A $A > /a\n")
case("write-long-line", "FROM box:1\nENV A=" + "x" * 20000 + "\nRUN echo ${#A} > /n\n")
case("write-many-steps", "FROM box:1\n" + "".join(f"LABEL a{n}={n}\n" for n in range(100)))

# -- here-documents

case("heredoc-run", "FROM box:1\nRUN <<EOT\n  echo one > /one\n\techo $HOME > /two\nEOT\n")
case("heredoc-run-fails-late", "FROM box:1\nRUN <<EOT\nfalse\necho reached > /x\nEOT\n")
case(
    "heredoc-run-shebang",
    "FROM box:1\nRUN <<EOT\n#!/bin/sh -e\necho $0 | sed 's,.*/,,' > /name\necho $- > /flags\nEOT\n",
)
case("heredoc-run-input", "FROM box:1\nRUN cat > /x <<EOT\n$HOME \\$HOME\nEOT\n")
case("heredoc-run-two", "FROM box:1\nRUN cat <<A <<B > /x; cat <<C > /y\na\nA\nb\nB\nc\nC\n")
case("heredoc-run-quoted", "FROM box:1\nENV V=v\nRUN <<'EOT'\necho $V \"$(echo sub)\" > /x\nEOT\n")
case("heredoc-run-tabs", "FROM box:1\nRUN <<-EOT\n\techo a > /a\n\t\techo b > /b\n\tEOT\n")
case("heredoc-run-program", "FROM box:1\nRUN sh -s x y <<EOT\necho $1 $2 > /x\nEOT\n")
case(
    "heredoc-run-mount",
    "FROM box:1\nRUN --mount=type=tmpfs,target=/t <<EOT\necho a > /t/a\ncp /t/a /a\nEOT\n",
)
case(
    "heredoc-run-other-shell",
    'FROM box:1\nSHELL ["/bin/sh", "-ec"]\nRUN <<EOT\necho a > /a\nfalse\nEOT\n',
    fails="exit code: 1",
)
case("heredoc-copy", "FROM box:1\nARG A=x\nCOPY <<EOT /t\nvalue $A ${A:-y} \\$A \"$A\" '$A'\nEOT\n")
case("heredoc-copy-quoted", "FROM box:1\nARG A=x\nCOPY <<'EOT' /t\nvalue $A \\$A \\\nEOT\n")
case("heredoc-copy-double-quoted", 'FROM box:1\nARG A=x\nCOPY <<"EOT" /t\n$A\nEOT\n')
case("heredoc-copy-tabs", "FROM box:1\nCOPY <<-EOT /t\n\ta\n\t\tb\n  c\n\tEOT\n")
case("heredoc-copy-two", "FROM box:1\nCOPY <<one <<two /d/\n1\none\n2\ntwo\n")
case("heredoc-copy-and-file", "FROM box:1\nCOPY file <<here /d/\ntext\nhere\n", files={"file": "f"})
case("heredoc-copy-flags", "FROM box:1\nCOPY --chmod=640 --chown=user <<EOT /t\na\nEOT\n")
case("heredoc-copy-empty", "FROM box:1\nCOPY <<EOT /t\nEOT\n")
case("heredoc-copy-to-folder", "FROM box:1\nCOPY <<name /etc/\nx\nname\n")
case("heredoc-copy-backslash-newline", "FROM box:1\nCOPY <<EOT /t\na \\\nb\\\\\nc\nEOT\n")
case("heredoc-copy-looks-like-comment", "FROM box:1\nCOPY <<EOT /t\n# kept\n\n  RUN kept\nEOT\n")
case("heredoc-add", "FROM box:1\nADD <<EOT /t\nadded\nEOT\n")
case(
    "heredoc-in-onbuild",
    "FROM heredoc-in-onbuild-1:1\n",
    before="FROM box:1\nONBUILD RUN <<EOT\necho a > /a\nEOT\nONBUILD COPY <<T /t\ntext $A\nT\n",
)
case("heredoc-name-in-quotes-with-dots", "FROM box:1\nCOPY <<a.txt <<'b.sh' /d/\nA\na.txt\nB\nb.sh\n")
case("heredoc-not-one", "FROM box:1\nRUN echo $((1<<3)) > /n\nRUN echo 'a <<EOT' > /q\n")
case("heredoc-in-exec-form", 'FROM box:1\nRUN ["sh", "-c", "echo <<EOT > /x"]\n')
case("heredoc-fd-number", "FROM box:1\nRUN cat 3<<EOT <&3 > /x\nthree\nEOT\n")
case("heredoc-escape-directive", "# escape=`\nFROM box:1\nARG A=x\nCOPY <<EOT /t\n`$A \\$A $A\nEOT\n")
