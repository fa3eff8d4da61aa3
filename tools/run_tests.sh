#!/bin/bash
# Every check and test, as CI runs them; ends in a line of counts.
# usage: tools/run_tests.sh [section...]     default: all, in this order
#   style    include rules of src/layers.txt, clang-format, shell syntax, size of a gateway's first stage
#   release  GCC build with -Werror; the thin client is static and has no iostreams
#   unit     unit tests                       e2e   pytest against the release build
#   install  `make install` into a scratch prefix and the Debian package
#   asan     clang build with -Werror, AddressSanitizer and UBSan; clang-tidy over everything that
#            is shipped; unit tests and core end-to-end tests with it
#   fuzz     every fuzz target for FUZZ_SECONDS (default 5) on its corpus
set -uo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

python=/usr/bin/python3
reports=build/test-reports
fuzz_seconds=${FUZZ_SECONDS:-5}
# Tests wait more than they compute; those of a file share what they have started.
in_parallel=(-n 3 --dist loadfile)
passed=0 failed=0 skipped=0
failures=()
timings=()

# --- counting ------------------------------------------------------------------------------------

record() {  # record <name> <status>: one check that either holds or does not
  if (($2 == 0)); then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    failures+=("$1")
    echo "FAILED: $1"
  fi
  return "$2"
}

check() {  # check <name> <command...>
  local name=$1
  shift
  "$@"
  record "$name" $?
}

# suite <name> <report> <command...>: a runner that writes a JUnit report. One that ends badly
# without a failure in its report (a crash, a time-out, nothing collected) counts as one failure.
suite() {
  local name=$1 report=$2 status counts
  shift 2
  rm -f "$report"
  "$@"
  status=$?
  counts=$($python -I - "$report" <<'END'
import sys
import xml.etree.ElementTree as tree
try:
    cases = list(tree.parse(sys.argv[1]).iter("testcase"))
except (OSError, tree.ParseError):
    cases = []
bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
idle = [c for c in cases if c.find("skipped") is not None or c.get("status") == "notrun"]
print(len(cases) - len(bad) - len(idle), len(bad), len(idle))
END
  )
  read -r ok bad idle <<<"$counts"
  if ((bad == 0 && (status != 0 || ok == 0))); then
    bad=1
    echo "FAILED: $name ended with status $status after $ok passed tests"
  fi
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + idle))
  ((bad)) && failures+=("$name ($bad)")
  echo "$name: $ok passed, $bad failed, $idle skipped"
  ((bad == 0))
}

# --- sections ------------------------------------------------------------------------------------

build() {  # build <preset> <target...>
  local preset=$1
  shift
  cmake --preset "$preset" >/dev/null && cmake --build --preset "$preset" --target "$@" -- -k 0 --quiet
}

section_style() {
  check "layers" tools/lint.sh layers
  check "format" tools/lint.sh format
  check "shell syntax" bash_syntax
  check "first stage" first_stage_is_small
}

bash_syntax() {
  local file status=0
  for file in tools/*.sh examples/*.sh .ci/run packaging/completion/*; do
    [[ ! -f $file ]] || bash -n "$file" || status=1
  done
  return $status
}

first_stage_is_small() {
  PYTHONPATH=python $python - <<'END'
from brood.gateways.core import stage
print(f"first stage of gateways: {len(stage.STAGE)} bytes, payload: {len(stage.payload())} bytes, compressed")
assert len(stage.STAGE) < 600
END
}

section_release() {
  check "release build" build release all || return
  check "thin client" thin_client_is_thin
}

thin_client_is_thin() {
  file -L build/bin/brood | grep -q 'statically linked' || { echo "not static" && return 1; }
  ! nm -C build/bin/brood | grep 'std::ios_base::Init' || { echo "has iostreams" && return 1; }
  echo "build/bin/brood: $(stat -Lc %s build/bin/brood) bytes"
}

section_unit() { unit_tests "unit tests" build; }

unit_tests() {  # unit_tests <name> <build tree>
  local report=$PWD/$reports/unit-$2.xml
  # The frames of a sanitizer are several times as large: a recursion that is bounded must fit.
  suite "$1" "$report" prlimit --stack=67108864: timeout 300 "$2/bin-test/brood_unit_tests" \
    --gtest_brief=1 "--gtest_output=xml:$report"
}

section_e2e() {
  suite "end-to-end tests" "$reports/e2e.xml" timeout -k 10 1200 \
    $python -m pytest tests -q -ra "${in_parallel[@]}" --junitxml="$reports/e2e.xml"
}

section_install() {
  check "installed tree" install_works
  check "Debian package" package_is_complete || return
  if unshare --mount true 2>/dev/null; then
    check "Debian package, installed and removed" unshare --mount bash -c "$(declare -f); package_installs"
  else
    skipped=$((skipped + 1))
    echo "SKIPPED: a package is installed by root only"
  fi
}

installed_files=(bin/brood bin/brood-python bin/broodd libexec/brood/brood-tool
  lib/brood/_brood.abi3.so lib/brood/python/brood/__init__.py share/man/man1/brood.1
  share/bash-completion/completions/brood lib/systemd/user/broodd.socket
  lib/systemd/user/broodd.service include/brood/client.h lib/libbrood_client.a
  include/brood/gateway.h include/brood/channel.h include/brood/value.h lib/libbrood_gateway.a
  lib/pkgconfig/brood-gateway.pc
  lib/cmake/brood/broodConfig.cmake lib/pkgconfig/brood.pc lib/brood/python/brood/client.py
  share/brood/environments/math/brood.toml share/brood/gateways/socketserver.py
  share/brood/gateways/fileserver.py share/brood/gateways/triangle.py)

install_works() {
  local prefix=$PWD/build/test-prefix file
  rm -rf "$prefix"
  cmake --install build --prefix "$prefix" >/dev/null || return
  for file in "${installed_files[@]}"; do
    [[ -e $prefix/$file ]] || { echo "$file is not installed" && return 1; }
  done
  grep -q "^ExecStart=$prefix/bin/broodd" "$prefix/lib/systemd/user/broodd.service" || {
    echo "broodd.service does not start $prefix/bin/broodd" && return 1
  }
  PATH=/usr/bin:/bin "$prefix/bin/brood" --version || return
  [[ $(BROOD=off "$prefix/bin/brood-python" -c 'print(6 * 7)') == 42 ]] || return
  has_byte_code "$prefix/lib/brood/python" && examples_run "$prefix" && can_be_uninstalled "$prefix"
}

# has_byte_code <package folder> [command before python]: what a local gateway imports is not compiled anew
has_byte_code() {
  local said
  said=$("${@:2}" env PYTHONPATH="$1" PYTHONDONTWRITEBYTECODE=1 $python -v -c 'import brood
with brood.Group(["popen"]) as group: print("started", group[0].call(abs, -1))' 2>&1)
  grep -q '^started 1$' <<<"$said" && grep -q "matches $1" <<<"$said" || {
    echo "no gateway starts from byte code of $1: $(tail -n 1 <<<"$said")" && return 1
  }
  ! grep -E "^# code object from '?$1.*\.py'?\$" <<<"$said"
}

examples_run() {  # examples_run <prefix>
  local -x PYTHONPATH=$1/lib/brood/python
  $python "$1/share/brood/gateways/triangle.py" | grep -c . | grep -qx 3 &&
    $python "$1/share/brood/gateways/fileserver.py" popen "$1/lib/pkgconfig/brood.pc" | cmp - "$1/lib/pkgconfig/brood.pc"
}

can_be_uninstalled() {  # can_be_uninstalled <prefix>
  local left
  tools/uninstall.sh build/install_manifest.txt
  left=$(find "$1" ! -type d -o -path '*/brood*')
  [[ -z $left ]] || { echo "left after uninstall:" $left && return 1; }
}

package_is_complete() {
  local package contents file
  rm -rf build/test-package
  (cd build && cpack -G DEB -B test-package >/dev/null) || return
  package=$(echo build/test-package/*.deb)
  contents=$(dpkg-deb -c "$package") || return
  for file in "${installed_files[@]}"; do
    grep -qE " \./usr/$file(\.gz)?( |$)" <<<"$contents" || {
      echo "$file is not in the package" && return 1
    }
  done
  dpkg-deb -f "$package" Package Version Depends
  dpkg-deb -x "$package" build/test-package/root
  PATH=/usr/bin:/bin build/test-package/root/usr/bin/brood --version &&
    [[ $(BROOD=off build/test-package/root/usr/bin/brood-python -c 'print(6 * 7)') == 42 ]]
}

# In a mount namespace of its own: in a view of this machine whose changes nobody else sees.
package_installs() {
  local root=$PWD/build/test-package/view
  python=/usr/bin/python3
  mkdir -p "$root" && mount -t tmpfs tmpfs "$root" && mkdir "$root"/{changes,work,all} &&
    mount -t overlay -o "lowerdir=/,upperdir=$root/changes,workdir=$root/work" overlay "$root/all" &&
    mount --rbind /proc "$root/all/proc" && mount --rbind /dev "$root/all/dev" &&
    cp build/test-package/*.deb "$root/all/brood.deb" || return
  chroot "$root/all" dpkg -i /brood.deb >/dev/null || return
  has_byte_code /usr/lib/brood/python chroot "$root/all" || return
  chroot "$root/all" dpkg -P brood >/dev/null || return
  left=$(cd "$root/changes" && find usr/bin usr/lib usr/libexec usr/share usr/include -path '*brood*' ! -type c)
  [[ -z $left ]] || { echo "left after dpkg -P:" $left && return 1; }
}

section_asan() {
  local logs=$PWD/build-asan-ubsan/sanitizer-reports
  check "asan-ubsan build, clang-tidy" build asan-ubsan product host_libraries brood_unit_tests ||
    return
  rm -rf "$logs" && mkdir -p "$logs"
  export UBSAN_OPTIONS=print_stacktrace=1 LSAN_OPTIONS=suppressions=$PWD/tools/lsan.supp
  LSAN_OPTIONS+=:print_suppressions=0
  unit_tests "unit tests (asan-ubsan)" build-asan-ubsan
  # A report of a daemon in the background must not get lost with its stderr.
  ASAN_OPTIONS=log_path=$logs/asan BROOD_BUILD=$PWD/build-asan-ubsan \
    suite "core end-to-end tests (asan-ubsan)" "$reports/e2e-asan.xml" timeout -k 10 900 \
    $python -m pytest tests/e2e -m core -q -ra "${in_parallel[@]}" \
    --junitxml="$reports/e2e-asan.xml"
  check "no sanitizer reports" no_reports_in "$logs"
  unset UBSAN_OPTIONS LSAN_OPTIONS
}

# A process that a test kills while it looks for leaks leaves one line, of a thread it could not stop.
no_reports_in() {
  local file found=0
  for file in "$1"/*; do
    [[ -f $file ]] && grep -qvE '^==[0-9]+==Unable to get registers from thread [0-9]+\.$' "$file" &&
      found=1 && echo "$file:" && head -n 40 "$file"
  done
  return $found
}

section_fuzz() {
  local source name corpus fresh
  check "fuzz build" build asan-ubsan fuzz_targets || return
  check "fuzz targets exist" compgen -G 'fuzz/*_fuzz.cc' || return
  for source in fuzz/*_fuzz.cc; do
    name=$(basename "$source" .cc)
    corpus=fuzz/corpus/${name%_fuzz}
    fresh=build-asan-ubsan/corpus/$name
    mkdir -p "$fresh"
    [[ -d $corpus ]] || corpus=
    check "$name" fuzz_one "$name" "$fresh" $corpus
  done
}

fuzz_one() {  # fuzz_one <name> <directory for what it finds> [seeds]
  timeout $((fuzz_seconds + 60)) "build-asan-ubsan/fuzz/$1" "${@:2}" -max_total_time="$fuzz_seconds" \
    -timeout=5 -rss_limit_mb=1024 -artifact_prefix=build-asan-ubsan/ -verbosity=0 -print_funcs=0 -print_final_stats=1 \
    2>&1 | { grep -vE 'INFO|new_units|slowest|peak_rss|dictionary|# Uses:' || true; }
}

# --- run -----------------------------------------------------------------------------------------

all=(style release unit e2e install asan fuzz)
for name in "${@:-${all[@]}}"; do
  declare -F "section_$name" >/dev/null || {
    echo "run_tests.sh: no such section: $name (sections: ${all[*]})" >&2 && exit 2
  }
done
mkdir -p $reports

for name in "${@:-${all[@]}}"; do
  printf '\n=== %s ===\n' "$name"
  start=$SECONDS
  "section_$name"
  timings+=("$name $((SECONDS - start))s")
  echo "--- $name took $((SECONDS - start)) s"
done

printf '\n'
((${#failures[@]} == 0)) || printf 'failed: %s\n' "${failures[@]}"
printf 'durations:'
printf ' %s,' "${timings[@]}" | sed 's/,$//'
printf ' total %ss\n' "$SECONDS"
printf '%s passed, %s failed' "$passed" "$failed"
((skipped == 0)) || printf ', %s skipped' "$skipped"
printf '\n'
((failed == 0 && passed > 0))
