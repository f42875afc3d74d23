#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Plays the demo package: in a window when there is a display, otherwise headless in real time with pictures
# written. Ends with one line: FPS, dropped frames, PSNR of SR and of bicubic. Usage: demo.sh BUILD
set -eu
build=${1:-build}
package=models/demo/manifest.json
out=$build/demo
mkdir -p "$out"

# The number behind the first "KEY" after the first "SECTION" of a JSON file that our own tools wrote.
number() { # file section key
    tr -d ' \n' < "$1" | sed -n "s/.*\"$2\":{[^}]*\"$3\":\([-0-9.eE]*\).*/\1/p"
}
top() { # file key
    tr -d ' \n' < "$1" | sed -n "s/.*[{,]\"$2\":\([-0-9.eE]*\).*/\1/p"
}

if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    echo "playing the demo; keys: n SR on/off, c before/after split (drag it), i statistics, q quit"
    "$build/srplay" --stats "$out/stats.json" "$package"
else
    echo "no display: playing the demo headless, in real time"
    "$build/srplay" --no-display --stats "$out/stats.json" "$package"
    "$build/srplay" -q --no-display --untimed --no-audio --start 1 --frames 1 \
        --dump "$out/screenshot.png" "$package"
    "$build/srplay" -q --no-display --untimed --no-audio --start 1 --frames 1 --compare side \
        --dump "$out/side-by-side.png" "$package"
    echo "wrote $out/screenshot.png and $out/side-by-side.png (left bicubic, right SR)"
fi
echo "measuring against the original, which is rendered anew"
"$build/demo-scene" --video - | "$build/srbench" package "$package" --reference - --json > "$out/package.json"
printf 'demo: %.1f FPS, %d dropped, PSNR %.2f dB (SR), %.2f dB (bicubic)\n' \
    "$(top "$out/stats.json" fps)" "$(top "$out/stats.json" dropped)" \
    "$(number "$out/package.json" psnr_y sr)" "$(number "$out/package.json" psnr_y bicubic)"
