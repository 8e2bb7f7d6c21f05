# Sets up what Estiva needs, for ./quickstart and ./test: system packages, named before they are installed, and a
# virtual environment in .venv. Sourced with the checkout as the current folder. Quiet and quick when all is there.
#
#   setup_packages NAME...   install what is missing of these Debian packages
#   setup_python [dev]       .venv with the Python dependencies of pyproject.toml

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

setup_packages() {
    missing=
    for package in "$@"; do
        case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
        installed) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || fail "these packages are needed:$missing; install them and run this again"
    [ "$(id -u)" = 0 ] || fail "root is needed to install:$missing"
    echo "installing system packages:$missing"
    # a package index that is there already may do; a new machine has none
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$setup_log" 2>&1 ||
        { apt-get update -qq >"$setup_log" 2>&1 &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$setup_log" 2>&1; } ||
        { tail -n 5 "$setup_log" >&2; fail "the packages could not be installed:$missing"; }
}

# The distribution's own interpreter: a python3 earlier on the PATH may be a slow shim.
find_python() {
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed"
}

setup_python() {
    wanted=$(cksum pyproject.toml)${1:-}
    if [ -x .venv/bin/python3 ] && [ "$(cat .venv/estiva-setup 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    python=$(find_python) || exit 1
    echo "making .venv with $("$python" --version) and the dependencies of pyproject.toml"
    # not --clear: another run may be using it at this moment
    "$python" -m venv .venv >"$setup_log" 2>&1 || { tail -n 5 "$setup_log" >&2; fail "no virtual environment could be made"; }
    "$python" - "${1:-}" >.venv/requirements.txt <<'PYTHON'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("\n".join(project["dependencies"] + (project["optional-dependencies"][sys.argv[1]] if sys.argv[1] else [])))
PYTHON
    .venv/bin/python3 -m pip install --quiet --disable-pip-version-check -r .venv/requirements.txt >"$setup_log" 2>&1 ||
        { tail -n 5 "$setup_log" >&2; fail "the Python dependencies could not be installed"; }
    .venv/bin/python3 -m compileall -q src || :
    echo "$wanted" >.venv/estiva-setup
}

setup_log=$(mktemp)
trap 'rm -f "$setup_log"' EXIT
[ "$(uname -s)" = Linux ] || fail "Estiva runs on Linux"
