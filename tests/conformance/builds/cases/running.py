"""RUN: what a command sees, and what of it stays."""

from cases.case import case

case("run-shell", "FROM box:1\nRUN echo a > /a && echo $HOME > /home-dir\n")
case("run-exec", 'FROM box:1\nRUN ["/bin/sh", "-c", "echo $HOME > /a"]\n')
case("run-exec-no-shell", 'FROM box:1\nRUN ["touch", "/$HOME"]\n')
case("run-exec-by-path", 'FROM box:1\nRUN ["touch", "/a"]\n')
case(
    "run-env",
    "FROM box:1\nENV A=b 'C'=\"d e\"\nRUN env | grep -v '^\\(PWD\\|SHLVL\\|OLDPWD\\)=\\|^OTEL\\|^TRACE' | sort > /env\n",
)
case(
    "run-env-exec", 'FROM box:1\nRUN ["/bin/sh", "-c", "env | grep -v OTEL | grep -v TRACE | sort > /env"]\n'
)
case(
    "run-hostname",
    "FROM box:1\nRUN hostname > /h; cat /etc/hostname > /i; true\n",
    differs={"tree": "its name is in /etc/hostname, too"},
)
case(
    "run-hostname-given",
    "FROM box:1\nRUN hostname > /h\n",
    options="--build-arg BUILDKIT_SANDBOX_HOSTNAME=other",
)
case("run-hosts", "FROM box:1\nRUN grep -v '^#' /etc/hosts | grep -c localhost > /n\n")
case("run-stdin", "FROM box:1\nRUN cat > /in; tty > /tty; true\n")
case("run-umask", "FROM box:1\nRUN umask > /u; touch /f; mkdir /d\n")
case("run-caps", "FROM box:1\nRUN grep Cap /proc/self/status > /caps\n")
case("run-user-caps", "FROM box:1\nUSER user\nRUN grep Cap /proc/self/status > /tmp/caps\n")
case("run-groups", "FROM box:1\nUSER user\nRUN grep Groups /proc/self/status > /tmp/groups\n")
case(
    "run-pid-one",
    "FROM box:1\nRUN echo $$ > /pid; ls /proc | grep -c '^[0-9]' > /dev/null; readlink /proc/1/root > /root-of; true\n",
)
case("run-cwd", 'FROM box:1\nWORKDIR /w\nRUN pwd > p; echo "$PWD" > q\n')
case(
    "run-dev",
    "FROM box:1\nRUN ls /dev | grep -v otel > /dev-list; cat /dev/null > /null; head -c 4 /dev/zero > /zeros\n",
)
case("run-shm", "FROM box:1\nRUN df /dev/shm | tail -1 | sed 's/  */ /g' | cut -d' ' -f1,2,6 > /shm\n")
case(
    "run-nothing",
    "FROM box:1\nRUN true\nLABEL a=b\n",
)
case("run-removes", "FROM box:1\nRUN rm /etc/group && rm -r /home && mkdir /home && touch /home/new\n")
case(
    "run-renames",
    "FROM box:1\nRUN mv /home /home2 && mv /tmp /tmp2 && mv /usr/share /share\n",
)
case(
    "run-replaces-kinds",
    "FROM box:1\nRUN rm -r /home && touch /home && rm /etc/group && mkdir /etc/group && ln -s x /etc/group/l\n",
)
case(
    "run-modes",
    "FROM box:1\nRUN touch /a && chmod 4755 /a && mkdir /s && chmod 1777 /s && mkdir /g && chmod 2770 /g && chown user:extra /g\n",
)
case(
    "run-kinds",
    "FROM box:1\nRUN mkdir /k && mknod /k/p p && mknod /k/c c 1 3 && mknod /k/b b 7 0 && ln -s /nowhere /k/l && touch /k/f && ln /k/f /k/h\n",
)
case(
    "run-times",
    "FROM box:1\nRUN mkdir /t && touch -d '2003-04-05 06:07:08' /t/f && touch -d '1999-01-01 00:00:00' /t\n",
)
case("run-hard-links-across", "FROM box:1\nRUN echo a > /a\nRUN ln /a /b && echo more >> /b\n")
case("run-changes-mode-of-base", "FROM box:1\nRUN chmod 600 /etc/passwd && chown 7 /etc/group\n")
case("run-touches-base-file", "FROM box:1\nRUN echo 'x:x:9:' >> /etc/group\n")
case("run-stubs-stay-out", "FROM box:1\nRUN ls -a / > /list\n")
case(
    "run-in-deep-mountpoint",
    "FROM box:1\nRUN echo nameserver > /dev/null; test -e /etc/resolv.conf; echo $? > /has\n",
)
case("run-big-file", "FROM box:1\nRUN dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null\n")
case("run-sparse-file", "FROM box:1\nRUN dd if=/dev/zero of=/sparse bs=1 count=1 seek=5000000 2>/dev/null\n")
case(
    "run-odd-names",
    "FROM box:1\nRUN mkdir '/a b' && touch '/a b/\"q\"' '/a b/é' '/a b/-x' '/a b/.wh'\n",
)
case("run-background", "FROM box:1\nRUN sleep 300 & echo started > /s\n")
case("run-output-lots", "FROM box:1\nRUN seq 20000; echo done > /d\n")
case("run-network-none", "FROM box:1\nRUN --network=none ls /sys/class/net > /net\n")
case(
    "run-network-default",
    "FROM box:1\nRUN --network=default test -d /sys/class/net/lo && echo lo > /lo\n",
)
case(
    "run-security-sandbox",
    "FROM box:1\nRUN --security=sandbox echo a > /a\n",
    older="FROM box:1\nRUN echo a > /a\n",
    since=(1, 20),
)
case("run-fails", "FROM box:1\nRUN exit 7\n", fails="exit code: 7")
case("run-not-found", "FROM box:1\nRUN nosuchprogram\n", fails="exit code: 127")
case("run-exec-not-found", 'FROM box:1\nRUN ["nosuchprogram"]\n', fails="not found")
case(
    "run-killed",
    "FROM box:1\nRUN kill -9 $$\n",
)
case("run-user-unknown", "FROM box:1\nUSER nosuch\nRUN true\n", fails="nosuch")
case("run-user-cannot", "FROM box:1\nUSER user\nRUN touch /not-mine\n", fails="exit code: 1")
case("run-second-fails", "FROM box:1\nRUN echo a > /a\nRUN cat /b\n", fails="exit code: 1")
case("run-no-shell-in-scratch", "FROM scratch\nRUN echo a\n", fails="/bin/sh|no such file")
case("run-home-of-shell", "FROM box:1\nENV HOME=/other\nRUN echo $HOME > /h\n")
case("run-workdir-removed", "FROM box:1\nWORKDIR /w\nRUN cd / && rmdir /w\nRUN pwd > /p\n")
case("run-dev-files-stay-out", "FROM box:1\nRUN touch /dev/x; mkdir /dev/y; true\n")
case("run-json-with-blank", 'FROM box:1\nRUN   [ "touch",  "/a" ]  \n')
case("run-bracket-command", "FROM box:1\nRUN [ -d /etc ] && echo yes > /y\n")
