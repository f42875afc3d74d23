#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What the compilers do not check: sizes, line lengths, names of symbols, what the library must not call.
set -eu
cd "$(dirname "$0")/.."
bad=0
complain() { echo "lint: $1"; bad=1; }

sources=$(git ls-files '*.c' '*.h')
for f in $sources $(git ls-files '*.py' '*.sh'); do
    lines=$(wc -l < "$f")
    [ "$lines" -le 1000 ] || complain "$f: $lines lines (at most 1000)"
done
# JSON inside C strings of tests may be a little longer.
long=$(awk 'length > (FILENAME ~ /^test/ ? 110 : 100) {print FILENAME ":" FNR}' $sources)
[ -z "$long" ] || complain "longer than 100 columns: $long"
spaces=$(git grep -nIP '[ \t]+$|\t' -- '*.c' '*.h' '*.py' '*.sh' | cut -d: -f1,2) || :
[ -z "$spaces" ] || complain "tab or trailing space: $spaces"
for f in $sources $(git ls-files '*.py' '*.sh'); do
    head -n 2 "$f" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || complain "$f: no licence line"
done

# The library never prints, exits or aborts, and exports srp_ names alone.
calls=$(git grep -nwE '(printf|puts|fputs|perror|abort|exit|_exit|assert)\(' -- 'runtime/*.c' | cut -d: -f1,2) || :
[ -z "$calls" ] || complain "libsrp must not call this: $calls"
for library in build/*/libsrp.so build/libsrp.so; do
    [ -f "$library" ] || continue
    names=$(nm -D --defined-only "$library" | awk '$2 ~ /[TDBRVW]/ {print $3}' | grep -v '^srp_' \
            | grep -vE '^(_init|_fini|__asan|__ubsan|__tsan)') || :
    [ -z "$names" ] || complain "$library exports $names"
done
[ $bad -eq 0 ] && echo "lint: clean"
exit $bad
