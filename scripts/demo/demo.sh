#!/usr/bin/env bash
# Counts the words of Go's own source tree with seepnode on one node and on five, and again with ordinary Unix tools, and compares
# all counts. SEEPNODE is the binary (bin/seepnode), SOURCES the directory (Go's src). Leaves nothing behind.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
seepnode=${SEEPNODE:-$here/../../bin/seepnode}
sources=${SOURCES:-$(go env GOROOT)/src}

work=$(mktemp -d "${TMPDIR:-/tmp}/seepnode-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
  echo "demo: $*" >&2
  exit 1
}

# seconds FROM TO, both in nanoseconds since 1970
seconds() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.2f", (to - from) / 1e9 }'; }
now() { perl -MTime::HiRes=time -e 'printf "%d\n", time() * 1e9' 2>/dev/null || date +%s%N; }

count() { # count OUTPUT NODES: runs the query and says how long it took
  local from to
  from=$(now)
  "$seepnode" run "$here/wordcount.sql" --set files.path="$sources/**/*.go" --set counts.path="$1" --nodes "$2" ||
    fail "seepnode failed"
  to=$(now)
  compgen -G "$1/*.csv" >/dev/null || fail "seepnode was stopped, or there was nothing to count"
  seconds "$from" "$to"
}

[ -x "$seepnode" ] || fail "$seepnode is not there; run make build"
[ -d "$sources" ] || fail "$sources is not there"

find "$sources" -type f -name '*.go' -print0 >"$work/files"
files=$(tr -cd '\0' <"$work/files" | wc -c | tr -d ' ')
bytes=$(xargs -0 cat <"$work/files" | wc -c | tr -d ' ')
echo "Counting the words of $files *.go files below $sources ($(awk -v b="$bytes" 'BEGIN { printf "%.1f", b / 1e6 }') MB)"

echo
echo "seepnode, one node:"
one=$(count "$work/one" 1)
awk -v s="$one" -v b="$bytes" 'BEGIN { printf "  %s s, %.1f MB/s\n", s, b / 1e6 / s }'

cat "$work"/one/*.csv >"$work/one.csv"
awk -F, '{ words += $2 } END { printf "  %d words, %d distinct\n", words, NR }' "$work/one.csv"
echo "  the ten most frequent:"
sort -t, -k2,2nr -k1,1 "$work/one.csv" >"$work/ranked"
head -n 10 "$work/ranked" | awk -F, '{ printf "  %10d  %s\n", $2, $1 }'

echo
echo "seepnode, five nodes in one process, connected by TCP:"
five=$(count "$work/five" 5)
awk -v s="$five" -v b="$bytes" 'BEGIN { printf "  %s s, %.1f MB/s\n", s, b / 1e6 / s }'
cat "$work"/five/*.csv >"$work/five.csv"
cmp "$work/one.csv" "$work/five.csv" || fail "one node and five give different bytes"
echo "  the same bytes as one node's"

# Independently. A newline after every file keeps the last word of one from joining the first of the next.
echo
echo "find, tr, sort, uniq:"
from=$(now)
xargs -0 sh -c 'for file; do cat "$file"; echo; done' sh <"$work/files" |
  tr -cs 'A-Za-z0-9' '\n' | tr 'A-Z' 'a-z' | grep . | sort | uniq -c | awk '{ print $2 "," $1 }' >"$work/expected"
echo "  $(seconds "$from" "$(now)") s"

sort "$work/one.csv" >"$work/got"
sort -o "$work/expected" "$work/expected"
if ! cmp -s "$work/expected" "$work/got"; then
  diff "$work/expected" "$work/got" | head -n 20 >&2 || true
  fail "the counts differ (< Unix tools, > seepnode)"
fi
distinct=$(wc -l <"$work/got" | tr -d ' ')
echo "  all $distinct counts equal"
