#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Unpacks Debian packages of another architecture into a folder, for a cross compiler to link with.
# The system is left as it is: apt works on lists of its own in that folder, nothing is installed, no
# foreign architecture is added, and root is not needed. Usage: sysroot.sh ARCHITECTURE FOLDER PACKAGE...
set -eu

arch=$1 folder=$2
shift 2
for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || {
        echo "sysroot.sh: no $tool; put what these packages hold ($arch) into $folder: $*" >&2
        exit 1
    }
done
echo "fetching Debian packages for $arch into $folder: $*"
rm -rf "$folder"
mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
folder=$(cd "$folder" && pwd)
: > "$folder/apt/status"
log=$folder/apt/log

apt() {
    apt-get -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o Dir::State="$folder/apt" \
        -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none "$@" >>"$log" 2>&1
}

# A source without this architecture, or one that fails, need not be the one that is asked for.
apt update || :
if ! (cd "$folder/apt" && apt download "$@"); then
    tail -n 20 "$log" >&2
    echo "sysroot.sh: apt-get failed; whole log: $log" >&2
    exit 1
fi
for package in "$folder"/apt/*.deb; do
    dpkg-deb -x "$package" "$folder"
done
rm -r "$folder/apt"
