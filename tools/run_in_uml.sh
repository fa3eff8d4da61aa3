#!/bin/bash
# End-to-end tests on another kernel: Debian's user-mode-linux, with this file system, and with
# cgroup v2 and all its controllers, which a machine with v1 does not have.
# usage: tools/run_in_uml.sh tests/e2e/test_session_cgroups.py [pytest options...]    as root
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1-} != --inside ]]; then
  command -v linux.uml >/dev/null || {
    echo "run_in_uml.sh: user-mode-linux is missing: apt-get install user-mode-linux" >&2 && exit 2
  }
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  printf '#!/bin/bash\nexec %q --inside %q %q' "$PWD/tools/run_in_uml.sh" "$scratch/status" "$PWD" >"$scratch/init"
  printf ' %q' "$@" >>"$scratch/init"
  chmod +x "$scratch/init"
  TMPDIR=$scratch linux.uml mem="${UML_MEMORY:-3G}" root=none rootfstype=hostfs rw \
    init="$scratch/init" con=null con0=fd:0,fd:1 quiet </dev/null
  [[ -f $scratch/status ]] || { echo "run_in_uml.sh: the kernel did not come to the tests" >&2 && exit 1; }
  exit "$(cat "$scratch/status")"
fi

# Process 1 of the other kernel.
status_file=$2
cd "$3"
shift 3
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t devtmpfs dev /dev 2>/dev/null || true
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ip link set lo up
echo "+memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
status=0
/usr/bin/python3 -m pytest -p no:cacheprovider --basetemp=/run/pytest "$@" || status=$?
echo $status >"$status_file"
sync
/sbin/halt -f
