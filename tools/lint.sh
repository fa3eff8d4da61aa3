#!/bin/bash
# Code style: clang-format, the include rules of src/layers.txt, clang-tidy.
# usage: tools/lint.sh [format|layers|tidy ...]    default: all
#        tools/lint.sh --fix                       let clang-format rewrite the files
set -uo pipefail
cd "$(dirname "$0")/.."

cxx_files() {
  local folders=()
  for folder in src bench fuzz include; do
    [[ ! -d $folder ]] || folders+=("$folder")
  done
  find "${folders[@]}" -name '*.h' -o -name '*.cc'
}

check_format() { cxx_files | xargs -r clang-format --dry-run -Werror --ferror-limit=1; }

check_layers() { tools/check_layers.py --self-test && tools/check_layers.py; }

# clang-tidy runs as part of the clang build, so a file is looked at again only when it changed.
check_tidy() {
  [[ -f build-asan-ubsan/build.ninja ]] || cmake --preset asan-ubsan >/dev/null || return
  cmake --build build-asan-ubsan --target product host_libraries -- -k 0
}

if [[ ${1:-} == --fix ]]; then
  cxx_files | xargs -r clang-format -i
  exit
fi

(($#)) || set -- format layers tidy
status=0
for part in "$@"; do
  echo "lint: $part"
  "check_$part" || status=1
done
exit $status
