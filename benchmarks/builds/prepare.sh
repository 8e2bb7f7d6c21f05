#!/bin/bash
# Makes in FOLDER what the projects and the rows of packages start from: a Debian with compilers and interpreters
# (debian.tar), wheels and an npm cache. Needs root, mmdebstrap, pip and npm, and the package registries.
set -euo pipefail
[ $# = 1 ] || { echo "usage: prepare.sh FOLDER" >&2; exit 2; }
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1" && cd "$1"
if [ ! -e debian.tar ]; then
    mmdebstrap --format=tar --variant=apt --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"' \
        --include=ca-certificates,python3,python3-pip,python3-venv,gcc,make,libc6-dev,golang-go,nodejs,npm \
        trixie debian.tar.part
    mv debian.tar.part debian.tar
fi
mkdir -p pip npm
cp "$here/flask/requirements.txt" pip/
# the wheels are for the Python of that Debian, not for the one that runs here
pip download -q -r pip/requirements.txt -d pip/wheels --python-version 3.13 --only-binary :all:
cp "$here"/npm/package.json "$here"/npm/package-lock.json npm/
copy=$(mktemp -d)
cp npm/package*.json "$copy"
(cd "$copy" && npm ci --cache "$OLDPWD/npm/npm-cache" --silent)
rm -r "$copy"
