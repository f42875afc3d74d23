#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The recipe of the demo package: render the scene, keep it losslessly, pack it. Usage: make.sh BUILD
set -eu
build=${1:-build}
work=$build/demo-source
mkdir -p "$work"
"$build/demo-scene" --audio "$work/scene.wav"
"$build/demo-scene" --video - | ffmpeg -v error -y -i - -i "$work/scene.wav" \
    -map 0:v -map 1:a -c:v libx264 -preset veryfast -qp 0 -c:a flac \
    -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv \
    -chroma_sample_location left "$work/scene.mkv"
rm -rf "$work/package"
"$build/srpack" "$work/scene.mkv" -o "$work/package" --scale 4 --crf 22 --chunk 2s \
    --model edge-dyn --steps "${DEMO_STEPS:-8000}" --seed 1
bytes=$(du -sb "$work/package" | cut -f1)
if [ "$bytes" -gt 2000000 ]; then
    echo "make.sh: the package has $bytes bytes, too many for the repository (2000000)" >&2
    exit 1
fi
rm -rf models/demo
mv "$work/package" models/demo
rm -rf "$work"
