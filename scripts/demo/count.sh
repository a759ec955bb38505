#!/bin/sh
# count.sh DIRECTORY: the words of all *.go files below it with ordinary Unix tools, "word,count" a line, sorted by word. First comes a line
# "FILES LINES BYTES" of what was counted.
set -eu
LC_ALL=C
export LC_ALL

list=$(mktemp "${TMPDIR:-/tmp}/seepnode-demo-files.XXXXXX")
trap 'rm -f "$list"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

find "$1" -type f -name '*.go' -print0 >"$list"
files=$(tr -cd '\0' <"$list" | wc -c | tr -d ' ')
printf '%s ' "$files"
xargs -0 cat <"$list" | wc | awk '{ print $1, $3 }'

# A newline after every file keeps the last word of one from joining the first of the next.
xargs -0 sh -c 'for file; do cat "$file"; echo; done' sh <"$list" |
  tr -cs 'A-Za-z0-9' '\n' | tr 'A-Z' 'a-z' | grep . | sort | uniq -c | awk '{ print $2 "," $1 }'
