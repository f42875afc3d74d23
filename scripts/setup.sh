#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs the Debian packages that srplay needs and that are missing; says which. Usage: setup.sh {player|dev|bench}...
set -eu

player="build-essential pkg-config ca-certificates
libavformat-dev libavcodec-dev libswscale-dev libswresample-dev libavutil-dev
libcurl4-openssl-dev libsdl2-dev libsdl2-ttf-dev libfontconfig-dev fonts-dejavu-core
libxnnpack-dev libpthreadpool-dev libcpuinfo-dev libzstd-dev libjansson-dev libsodium-dev"
dev="ffmpeg zstd python3 python3-venv libcmocka-dev xvfb xauth xdotool imagemagick git
clang gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
bench="libdnnl-dev libgomp1"

wanted=
for set in "$@"; do
    case $set in
    player) wanted="$wanted $player" ;;
    dev) wanted="$wanted $dev" ;;
    bench) wanted="$wanted $bench" ;;
    *) echo "setup.sh: unknown set '$set' (player, dev, bench)" >&2; exit 1 ;;
    esac
done

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup.sh: this is no Debian system; install the equivalents of:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup.sh: run as root: apt-get install$missing" >&2; exit 1; }
    as_root=sudo
fi
echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086
if ! { $as_root apt-get update && $as_root apt-get install -y --no-install-recommends $missing; } \
    >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "setup.sh: apt-get failed; whole log: $log" >&2
    exit 1
fi
rm -f "$log"
