# Sets up what Estiva needs, for ./quickstart and ./test: system packages, named before they are installed, and a
# virtual environment in .venv. Sourced by bash with the checkout as the current folder. Debian 12 and 13 and
# Ubuntu 24.04; elsewhere it says what is missing. Quiet and quick when all is there; safe to run twice at once.
#
#   setup_packages NAME...   install what is missing of these Debian packages
#   setup_python [dev]       .venv with the Python dependencies of pyproject.toml

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

missing_packages() {
    states=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null) || :
    for package in "$@"; do
        [[ $'\n'$states$'\n' == *$'\n'"$package installed"$'\n'* ]] || printf ' %s' "$package"
    done
}

setup_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "this is no Debian or Ubuntu; make sure that what these packages hold is there: $*"
        return
    fi
    [ -n "$(missing_packages "$@")" ] || return 0
    [ "$(id -u)" = 0 ] || fail "root is needed to install:$(missing_packages "$@")"
    (
        flock 8 # one at a time on this machine; the other may have installed them by then
        missing=$(missing_packages "$@")
        [ -n "$missing" ] || exit 0
        echo "installing system packages:$missing"
        # A package index that is there already may do; a new machine has none.
        # shellcheck disable=SC2086
        apt install $missing || { apt update && apt install $missing; } || {
            tail -n 5 "$setup_log" >&2
            fail "the packages could not be installed:$missing"
        }
    ) 8</var/lib/dpkg
}

apt() { # without the lock, which a service that starts now would keep
    DEBIAN_FRONTEND=noninteractive apt-get "$1" -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 "${@:2}" \
        >"$setup_log" 2>&1 </dev/null 8<&-
}

# The distribution's own interpreter first: a python3 earlier on the PATH may be a slow shim.
find_python() {
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed"
}

python_is_ready() { # the dependencies are those of this pyproject.toml, and for the interpreter that is there now
    [ "$(head -n 1 .venv/estiva-setup 2>/dev/null)" = "$(cksum <pyproject.toml)" ] &&
        { [ -z "$1" ] || grep -qx "$1" .venv/estiva-setup; } &&
        .venv/bin/python3 -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))' \
            aiohttp bcrypt h2 isal zstandard rich yaml 2>/dev/null
}

setup_python() {
    extra=${1:-}
    python_is_ready "$extra" || make_python "$extra" || exit
    for program in estiva estiva-oci; do # see src/estiva/boot/quickload.py
        PYTHONPATH=src .venv/bin/python3 -m estiva.boot.writer $program || fail "the modules of $program can't be loaded"
    done
}

make_python() {
    (
        flock 9
        ! python_is_ready "$1" || exit 0
        python=$(find_python) || exit 1
        echo "making .venv with $("$python" --version) and the dependencies of pyproject.toml"
        rm -f .venv/estiva-setup
        make_venv "$python" "$1" >"$setup_log" 2>&1 || {
            tail -n 5 "$setup_log" >&2
            fail "the virtual environment .venv could not be made"
        }
        { cksum <pyproject.toml && echo "$1"; } >.venv/estiva-setup
    ) 9<tools/setup.sh
}

make_venv() {
    "$1" -m venv .venv &&
        "$1" - "$2" >.venv/requirements.txt <<'PYTHON' &&
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("\n".join(project["dependencies"] + (project["optional-dependencies"][sys.argv[1]] if sys.argv[1] else [])))
PYTHON
        .venv/bin/python3 -m pip install --quiet --disable-pip-version-check -r .venv/requirements.txt &&
        .venv/bin/python3 -m compileall -q src
}

[ "$(uname -s)" = Linux ] || fail "Estiva runs on Linux"
setup_log=$(mktemp)
trap 'rm -f "$setup_log"' EXIT
