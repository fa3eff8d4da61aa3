#!/bin/bash
# Removes the files that a manifest of CMake names, byte code beside them, and brood's own directories that are empty then.
# usage: tools/uninstall.sh MANIFEST        DESTDIR is honoured
set -euo pipefail

[[ -f ${1:-} ]] || { echo "uninstall.sh: nothing was installed from here: no ${1:-manifest}" >&2 && exit 1; }
mapfile -t files <"$1"
declare -A folders
for file in "${files[@]}"; do
  file=${DESTDIR:-}$file
  folder=${file%/*}
  rm -f "$file"
  [[ $file != *.py ]] || rm -f "$folder/__pycache__/$(basename "$file" .py)".*.pyc  # of other interpreters
  while [[ $folder == */brood || $folder == */brood/* ]]; do
    folders[$folder]=1
    folder=${folder%/*}
  done
done
printf '%s\n' "${!folders[@]}" | sort -r | while read -r folder; do
  rmdir "$folder" 2>/dev/null || true  # what is not empty has something of others
done
