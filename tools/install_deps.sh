#!/bin/bash
# Installs what is missing from Debian's packages; does not touch apt when nothing is.
# usage: tools/install_deps.sh [--list] [runtime|build|demo|test ...]      default: all groups
set -euo pipefail

declare -A packages
packages[runtime]="python3"
packages[build]="g++ make cmake ninja-build ccache dpkg-dev file python3-dev libboost-dev
  libxxhash-dev libssl-dev libmsgpack-cxx-dev libcli11-dev libfmt-dev libspdlog-dev libtomlplusplus-dev nlohmann-json3-dev
  libedit-dev pkg-config"
packages[demo]="python3-pandas python3-matplotlib libopenblas0-pthread"
packages[test]="git clang clang-format clang-tidy libclang-rt-14-dev libgtest-dev libbenchmark-dev
  python3-pytest python3-pytest-xdist python3-jsonschema python3-pexpect python3-psutil python3-venv hyperfine strace bindfs tmux
  chromium chromium-driver python3-selenium python3-ipykernel python3-jupyter-client
  openssh-client openssh-server iproute2 sudo tcsh python3-execnet python3-mitogen"

# The page is built by npm; a node that is there already, from wherever, does.
command -v node >/dev/null || packages[build]+=" nodejs"
command -v npm >/dev/null || packages[build]+=" npm"

fail() {
  echo "install_deps.sh: $*" >&2
  exit 1
}

list_only=false
if [[ ${1:-} == --list ]]; then
  list_only=true
  shift
fi
(($#)) || set -- runtime build demo test

missing=()
for group in "$@"; do
  [[ -v packages[$group] ]] || fail "no such group: $group (groups: ${!packages[*]})"
  for package in ${packages[$group]}; do
    if $list_only; then
      echo "$package"
    elif ! dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
      missing+=("$package")
    fi
  done
done

$list_only && exit 0
if ((${#missing[@]} == 0)); then
  echo "dependencies: nothing missing"
  exit 0
fi

command -v apt-get >/dev/null || fail "apt-get not found; install the equivalents of: ${missing[*]}"
as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null ||
    fail "neither root nor sudo; ask an administrator for: apt-get install ${missing[*]}"
  as_root=(sudo)
fi

# Tests start an sshd of their own; the system's must not begin to run because of them.
# Debian starts none while this file exists; it goes with the package (purge), or by hand.
if [[ " ${missing[*]} " == *" openssh-server "* ]]; then
  echo "dependencies: /etc/ssh/sshd_not_to_be_run keeps the system's sshd from being started"
  "${as_root[@]}" install -D -m 644 /dev/null /etc/ssh/sshd_not_to_be_run
fi

echo "dependencies: installing ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
"${apt[@]}" update || echo "install_deps.sh: apt-get update failed, trying with old lists" >&2
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null ||
  fail "apt-get install failed; see above"
