"""RUN --mount, in each type and form."""

from cases.case import File, Link, case

SRC = {"src/a": "a", "src/sub/b": File("b", 0o600), "file": "file"}

case("mount-bind", "FROM box:1\nRUN --mount=target=/m cat /m/src/a > /a; ls /m > /list\n", files=SRC)
case(
    "mount-bind-type", "FROM box:1\nRUN --mount=type=bind,source=src,target=/m ls -R /m > /list\n", files=SRC
)
case("mount-bind-aliases", "FROM box:1\nRUN --mount=src=src,dst=/m ls /m > /1\nRUN --mount=from=other,source=/x,destination=/m cat /m/y > /2\n",
     files=SRC, beside={"other/x/y": "y"}, options="--build-context other=other")  # fmt: skip
case("mount-bind-file", "FROM box:1\nRUN --mount=source=file,target=/m/f cat /m/f > /a\n", files=SRC)
case(
    "mount-bind-over-file",
    "FROM box:1\nRUN --mount=source=file,target=/etc/group cat /etc/group > /a\n",
    files=SRC,
)
case("mount-bind-read-only", "FROM box:1\nRUN --mount=target=/m touch /m/x || echo no > /no\n", files=SRC)
case(
    "mount-bind-rw",
    "FROM box:1\nRUN --mount=target=/m,rw touch /m/x && ls /m > /list\nRUN --mount=target=/m ls /m > /again\n",
    files=SRC,
)
case(
    "mount-bind-rw-false",
    "FROM box:1\nRUN --mount=target=/m,rw=false touch /m/x || echo no > /no\n",
    files=SRC,
)
case(
    "mount-bind-readonly-false",
    "FROM box:1\nRUN --mount=target=/m,readonly=false touch /m/x && echo yes > /yes\n",
    files=SRC,
)
case(
    "mount-bind-from-stage",
    "FROM box:1 AS s\nRUN mkdir /d && echo s > /d/s\nFROM box:1\nRUN --mount=from=s,source=/d,target=/m cp /m/s /s\n",
)
case(
    "mount-bind-from-image",
    "FROM scratch AS none\nFROM box:1\nRUN --mount=from=full:1,source=/etc,target=/m cat /m/passwd > /p\n",
)
case(
    "mount-bind-from-later-rw",
    "FROM box:1 AS s\nRUN mkdir /d\nFROM box:1\nRUN --mount=from=s,source=/d,target=/m,rw echo x > /m/x\nRUN --mount=from=s,source=/d,target=/m ls /m > /list\n",
)
case(
    "mount-bind-relative-target",
    "FROM box:1\nWORKDIR /w\nRUN --mount=source=src,target=m cat m/a > a\n",
    files=SRC,
)
case("mount-bind-to-cwd", "FROM box:1\nWORKDIR /w\nRUN --mount=source=src,target=. ls > /list\n", files=SRC)
case(
    "mount-bind-expands",
    "FROM box:1\nARG S=src T=/m\nRUN --mount=source=${S},target=$T cat /m/a > /a\n",
    files=SRC,
)
case(
    "mount-bind-through-link",
    "FROM box:1\nRUN --mount=source=link,target=/m cat /m/a > /a\n",
    files={**SRC, "link": Link("src")},
)
case("mount-bind-owner", "FROM box:1\nRUN --mount=target=/m stat -c '%u:%g %a' /m/src/sub/b /m/src > /s\n",
     files={"src/sub/b": File("b", 0o600, owner=(1000, 1000))})  # fmt: skip
case("mount-bind-leaves-mountpoint", "FROM box:1\nRUN --mount=source=src,target=/new/deep true\n", files=SRC)
case(
    "mount-two",
    "FROM box:1\nRUN --mount=source=src,target=/m --mount=type=tmpfs,target=/t cp /m/a /t/ && cp /t/a /a\n",
    files=SRC,
)
case(
    "mount-nested",
    "FROM box:1\nRUN --mount=type=tmpfs,target=/t --mount=source=src,target=/t/in ls /t /t/in > /list\n",
    files=SRC,
)
case(
    "mount-bind-ignored",
    "FROM box:1\nRUN --mount=target=/m ls /m > /list\n",
    files={**SRC, ".dockerignore": "src\n"},
)
case(
    "mount-bind-missing", "FROM box:1\nRUN --mount=source=absent,target=/m ls /m\n", files=SRC, fails="absent"
)
case(
    "mount-cache",
    "FROM box:1\nRUN --mount=type=cache,target=/c echo 1 >> /c/n\nRUN --mount=type=cache,target=/c cp /c/n /n\n",
)
case(
    "mount-cache-not-in-image",
    "FROM box:1\nRUN --mount=type=cache,target=/c/d touch /c/d/x; ls -d /c/d > /there\n",
)
case(
    "mount-cache-id",
    "FROM box:1\nRUN --mount=type=cache,id=mount-cache-id,target=/c echo x > /c/x\nRUN --mount=type=cache,id=mount-cache-id,target=/d cp /d/x /x\n",
)
case(
    "mount-cache-other-id",
    "FROM box:1\nRUN --mount=type=cache,id=mount-a,target=/c echo x > /c/x\nRUN --mount=type=cache,id=mount-b,target=/c ls /c > /list\n",
)
case(
    "mount-cache-owner-mode",
    "FROM box:1\nRUN --mount=type=cache,id=owner-mode,target=/c,uid=1000,gid=2000,mode=0700 stat -c '%u:%g %a' /c > /s\n",
)
case(
    "mount-cache-identity",
    "FROM box:1\nRUN --mount=type=cache,id=ident,target=/c echo x > /c/x\nRUN --mount=type=cache,id=ident,target=/c,uid=1000 ls /c > /list; stat -c %u /c >> /list\n",
)
case(
    "mount-cache-default-mode",
    "FROM box:1\nRUN --mount=type=cache,id=default-mode,target=/c stat -c '%u:%g %a' /c > /s\n",
)
case(
    "mount-cache-ro",
    "FROM box:1\nRUN --mount=type=cache,id=cache-ro,target=/c,ro touch /c/x || echo no > /no\n",
)
case(
    "mount-cache-sharing",
    "FROM box:1\nRUN --mount=type=cache,id=shr,target=/c,sharing=locked echo 1 > /c/n\nRUN --mount=type=cache,id=shr,target=/c,sharing=shared cat /c/n > /n\n",
)
case(
    "mount-cache-private",
    "FROM box:1\nRUN --mount=type=cache,id=prv,target=/c,sharing=private echo 1 > /c/n\nRUN --mount=type=cache,id=prv,target=/c,sharing=private cat /c/n > /n\n",
)
case("mount-cache-from", "FROM box:1 AS s\nRUN mkdir /d && echo s > /d/s\nFROM box:1\nRUN --mount=type=cache,id=cache-from,from=s,source=/d,target=/c cat /c/s > /s && echo t > /c/t\nRUN --mount=type=cache,id=cache-from,from=s,source=/d,target=/c ls /c > /list\n")  # fmt: skip
case(
    "mount-cache-expands",
    "FROM box:1\nARG I=expands-id\nENV T=/c\nRUN --mount=type=cache,id=$I,target=$T echo a > /c/a\nRUN --mount=type=cache,id=expands-id,target=/c cp /c/a /a\n",
)
case(
    "mount-tmpfs",
    "FROM box:1\nRUN mkdir /t && touch /t/below\nRUN --mount=type=tmpfs,target=/t ls /t > /list; stat -c %a /t >> /list; touch /t/x\n",
    differs={"tree": "every user can write to a tmpfs"},
)
case(
    "mount-tmpfs-size",
    "FROM box:1\nRUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/x bs=64k count=32 2>/dev/null || echo full > /full\n",
)
case(
    "mount-secret",
    "FROM box:1\nRUN --mount=type=secret,id=s cat /run/secrets/s > /s; stat -c '%u:%g %a' /run/secrets/s > /stat\n",
    beside={"secret": "hush"},
    options="--secret id=s,src=secret",
)
case(
    "mount-secret-target",
    "FROM box:1\nRUN --mount=type=secret,id=s,target=/x/y,uid=1000,gid=2000,mode=0440 cat /x/y > /s; stat -c '%u:%g %a' /x/y > /stat\n",
    beside={"secret": "hush"},
    options="--secret id=s,src=secret",
)
case(
    "mount-secret-relative",
    "FROM box:1\nWORKDIR /w\nRUN --mount=type=secret,id=s,target=in/here cat in/here > /s\n",
    beside={"secret": "hush"},
    options="--secret id=s,src=secret",
)
case(
    "mount-secret-env-source",
    "FROM box:1\nRUN --mount=type=secret,id=s cat /run/secrets/s > /s\n",
    options="--secret id=s,env=TOKEN",
    env={"TOKEN": "of-env"},
)
case(
    "mount-secret-absent",
    "FROM box:1\nRUN --mount=type=secret,id=s test ! -e /run/secrets/s && echo none > /n\n",
)
case(
    "mount-secret-required",
    "FROM box:1\nRUN --mount=type=secret,id=s,required true\n",
    fails="secret s.*not found|s: not found",
)
case(
    "mount-secret-by-target-only",
    "FROM box:1\nRUN --mount=type=secret,target=/a/tok cat /a/tok > /s\n",
    beside={"secret": "hush"},
    options="--secret id=tok,src=secret",
)
case("mount-secret-in-env", "FROM box:1\nRUN --mount=type=secret,id=s,env=TOKEN echo $TOKEN > /s; ls /run/secrets > /l 2>&1; true\n", beside={"secret": "hush"}, options="--secret id=s,src=secret",
     since=(1, 10), older="FROM box:1\nRUN echo hush > /s; ls /run/secrets > /l 2>&1; true\n")  # fmt: skip
case(
    "mount-secret-user",
    "FROM box:1\nUSER user\nRUN --mount=type=secret,id=s,uid=1000 cat /run/secrets/s > /tmp/s\n",
    beside={"secret": "hush"},
    options="--secret id=s,src=secret",
)
case(
    "mount-secret-not-kept",
    "FROM box:1\nRUN --mount=type=secret,id=s true\nRUN ls -R /run > /list 2>&1 || true\n",
    beside={"secret": "hush"},
    options="--secret id=s,src=secret",
)
case(
    "mount-ssh-absent",
    'FROM box:1\nRUN --mount=type=ssh echo "${SSH_AUTH_SOCK-unset}" > /s\n',
    differs={"tree": "without an agent no variable names one"},
)
case("mount-ssh-required", "FROM box:1\nRUN --mount=type=ssh,required true\n", fails="ssh|SSH")
case(
    "mount-csv-quotes",
    'FROM box:1\nRUN --mount=type=bind,"source=with,comma",target=/m cat /m > /a\n',
    files={"with,comma": "x"},
    fails="comma",
)
case(
    "mount-upper-case-keys",
    "FROM box:1\nRUN --mount=TYPE=bind,Source=file,TARGET=/m cat /m > /a\n",
    files=SRC,
)
case(
    "mount-unknown-type",
    "FROM box:1\nRUN --mount=type=nothing,target=/m true\n",
    fails="unsupported mount type",
)
case(
    "mount-unknown-key", "FROM box:1\nRUN --mount=type=bind,nokey=1,target=/m true\n", fails="unexpected key"
)
case("mount-no-target", "FROM box:1\nRUN --mount=type=cache true\n", fails="target|mount")
case(
    "mount-target-root",
    "FROM box:1\nRUN --mount=type=tmpfs,target=/ true\n",
    fails="invalid mount target|root",
)
case(
    "mount-size-for-bind",
    "FROM box:1\nRUN --mount=type=bind,size=5m,target=/m true\n",
    fails="unexpected|size",
)
case(
    "mount-bad-sharing",
    "FROM box:1\nRUN --mount=type=cache,target=/c,sharing=odd true\n",
    fails="unsupported sharing",
)
case("mount-bad-mode", "FROM box:1\nRUN --mount=type=cache,target=/c,mode=999 true\n", fails="invalid value")
case(
    "mount-ro-and-rw",
    "FROM box:1\nRUN --mount=target=/m,ro,rw touch /m/x && echo yes > /y || echo no > /y\n",
    files=SRC,
)
