#!/usr/bin/env bash
# Run examples/analysis with plain python3 and warm with brood, compare the results and the times.
# `make demo` calls this after building. BROOD_DEMO_PYTHON names the interpreter to use.
set -euo pipefail

readonly COLD_RUNS=5 WARM_RUNS=10
readonly IMPORTS='import numpy, pandas, matplotlib.pyplot; print(1)'

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
readonly ROOT=$PWD
readonly BIN=$ROOT/build/bin OUT=$ROOT/build/demo

say() { printf '%s\n' "$*"; }
die() {
    printf 'demo: %s\n' "$@" >&2
    exit 1
}

# --- a daemon of our own ---------------------------------------------------------------------------

RUNTIME=
clean_up() {
    local status=$?
    trap '' INT TERM HUP
    if [[ -n $RUNTIME ]]; then
        timeout 20 "$BIN/brood" stop >"$OUT/stop.log" 2>&1 || {
            printf 'demo: brood stop failed:\n' >&2
            cat "$OUT/stop.log" >&2
            [[ $status != 0 ]] || status=1
        }
        rm -rf -- "$RUNTIME"
    fi
    exit "$status"
}

start_private_runtime() {
    RUNTIME=$(mktemp -d "${TMPDIR:-/tmp}/brood-demo.XXXXXX") ||
        die "cannot make a temporary directory; set TMPDIR to a writable one"
    chmod 0700 "$RUNTIME"
    export XDG_RUNTIME_DIR=$RUNTIME
}

# --- the interpreter -------------------------------------------------------------------------------

# Prints the real path of an interpreter that has what the analysis needs; a version manager's
# wrapper script would only add its own start-up time to the comparison.
usable_python() {
    "$1" -c 'import sys, numpy, pandas, matplotlib.pyplot; print(sys.executable)' </dev/null
}

choose_python() {
    local candidate
    if [[ -n ${BROOD_DEMO_PYTHON-} ]]; then
        PY=$(usable_python "$BROOD_DEMO_PYTHON") ||
            die "BROOD_DEMO_PYTHON=$BROOD_DEMO_PYTHON cannot import numpy, pandas and matplotlib" \
                "(its error is above); install them there or name another interpreter"
        return
    fi
    while read -r candidate; do
        if PY=$(usable_python "$candidate" 2>/dev/null); then
            return
        fi
    done < <(type -ap python3; say /usr/bin/python3)
    die "no python3 here can import numpy, pandas and matplotlib" \
        "on Debian: apt install python3-pandas python3-matplotlib" \
        "or set BROOD_DEMO_PYTHON to an interpreter that has them"
}

# --- measuring -------------------------------------------------------------------------------------

# timed STDOUT STDERR COMMAND...: sets `took` to microseconds, dies if the command fails.
timed() {
    local out=$1 err=$2 start stop status=0
    shift 2
    start=$EPOCHREALTIME
    "$@" >"$out" 2>"$err" </dev/null || status=$?
    stop=$EPOCHREALTIME
    took=$((${stop/[.,]/} - ${start/[.,]/}))
    if ((status != 0)); then
        printf '\ndemo: exit status %d from: %s\n' "$status" "$*" >&2
        cat "$err" >&2
        exit 1
    fi
}

ms() { printf '%d.%d' $((($1 + 50) / 1000)) $((($1 + 50) / 100 % 10)); }

# summary MICROSECONDS...: sets `median`, `least`, `most`.
summary() {
    local sorted
    mapfile -t sorted < <(printf '%s\n' "$@" | sort -n)
    median=$(((sorted[($# - 1) / 2] + sorted[$# / 2]) / 2))
    least=${sorted[0]}
    most=${sorted[$# - 1]}
}

# Which way a run went: brood's one trace line.
trace_line() {
    local line
    while IFS= read -r line; do
        if [[ $line == "brood: "* ]]; then
            say "$line"
            return
        fi
    done <"$1"
}

require_warm() {
    local trace
    trace=$(trace_line "$OUT/stderr")
    [[ $trace == "brood: warm"* ]] && return
    printf '\ndemo: this run was not warm: %s\n' "${trace:-no trace line}" >&2
    "$BIN/brood" explain "$@" >&2 || true
    "$BIN/brood" logs 2>/dev/null | tail -n 20 >&2 || true
    die "what went wrong stands above; brood env list shows the state of the environments"
}

require_equal() {
    cmp -s "$1" "$2" && return
    printf '\ndemo: %s and %s differ\n' "$1" "$2" >&2
    if [[ $1 == *.txt ]]; then diff "$1" "$2" | head -n 20 >&2 || true; fi
    die "brood must give what python3 gives: please report this with both files"
}

# series NAME COUNT COMMAND...: timings into `times`, one progress line.
# NAME is python3 or brood; AFTER is called after every run.
series() {
    local name=$1 count=$2 i
    shift 2
    times=()
    printf '  %-8s' "$name"
    for ((i = 0; i < count; i++)); do
        timed "$OUT/$name.txt" "$OUT/stderr" "$@"
        times+=("$took")
        printf ' %s' "$(ms "$took")"
        "$AFTER" "$name" "$@"
    done
    printf ' ms\n'
}

after_analysis() {
    local name=$1
    if [[ $name == brood ]]; then require_warm "${@:3}"; fi
    require_equal "$OUT/expected.txt" "$OUT/$name.txt"
    require_equal "$OUT/expected.png" "$OUT/$name.png"
}

after_imports() {
    local name=$1
    if [[ $name == brood ]]; then require_warm "${@:3}"; fi
    [[ $(<"$OUT/$name.txt") == 1 ]] || die "$name printed something else than 1: see $OUT/$name.txt"
}

# pair LABEL ARGUMENTS...: both series for one command line, and its row of the table.
# @NAME@ in an argument stands for python3 or brood.
TABLE=()
pair() {
    local label=$1 cold
    shift
    series python3 $COLD_RUNS "$PY" "${@//@NAME@/python3}"
    summary "${times[@]}"
    cold=$median
    TABLE+=("$(printf '%-26s %9s %15s' "$label" "$(ms "$median")" "$(ms "$least")-$(ms "$most")")")
    series brood $WARM_RUNS "$BIN/brood-python" "${@//@NAME@/brood}"
    summary "${times[@]}"
    TABLE[-1]+=$(printf ' %9s %15s %7d.%d x' "$(ms "$median")" "$(ms "$least")-$(ms "$most")" \
        $((cold / median)) $((cold * 10 / median % 10)))
}

# --- the demo --------------------------------------------------------------------------------------

for program in brood brood-python; do
    [[ -x $BIN/$program ]] || die "build/bin/$program is missing: run make first"
done
mkdir -p "$OUT"
rm -f -- "$OUT"/{expected,python3,brood}.{txt,png}
choose_python
start_private_runtime
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# brood-python stands for this interpreter and says on stderr which way each run went.
unset BROOD
export BROOD_PYTHON=$PY BROOD_TRACE=1
cd examples/analysis # brood.toml is found from here
IFS= read -r rows < <(wc -l <measurements.csv)

say "interpreter: $PY ($("$PY" -V))"
say "input:       examples/analysis/measurements.csv, $((rows - 1)) rows"
say
say "1. Once with python3, untimed: fills the caches and gives the results to compare with"
timed "$OUT/expected.txt" "$OUT/stderr" "$PY" analysis.py measurements.csv "$OUT/expected.png"
say "   text: build/demo/expected.txt, picture: build/demo/expected.png"

say "2. Warming the environment of examples/brood.toml (numpy, pandas, matplotlib.pyplot)"
timed "$OUT/brood.txt" "$OUT/stderr" timeout --foreground 120 "$BIN/brood" run --wait \
    --python "$PY" analysis.py measurements.csv "$OUT/brood.png"
AFTER=after_analysis
require_warm --python "$PY" analysis.py
require_equal "$OUT/expected.txt" "$OUT/brood.txt"
require_equal "$OUT/expected.png" "$OUT/brood.png"
say "   took $(ms "$took") ms with the first run; this happens once"

say "3. The analysis: $COLD_RUNS times with python3, $WARM_RUNS times with brood-python"
pair "analysis.py" analysis.py measurements.csv "$OUT/@NAME@.png"
say "   $(trace_line "$OUT/stderr")"
cp -- "$OUT/brood.txt" "$OUT/report.txt"

say "4. The imports alone: -c '$IMPORTS'"
AFTER=after_imports
pair "imports only" -c "$IMPORTS"
mv -- "$OUT/report.txt" "$OUT/brood.txt"
rm -f -- "$OUT/python3".{txt,png} "$OUT/stderr"

times=()
for ((i = 0; i < 21; i++)); do
    timed /dev/null /dev/null /bin/true
    times+=("$took")
done
summary "${times[@]}"

say
say "Text and picture of all $((COLD_RUNS + WARM_RUNS + 1)) runs of the analysis are identical, byte for byte"
say "($(wc -c <"$OUT/brood.txt") bytes of text, $(wc -c <"$OUT/brood.png") of picture: build/demo/brood.txt, build/demo/brood.png)."
say
printf '%-26s %25s %25s\n' "" "python3, ms" "brood, ms"
printf '%-26s %9s %15s %9s %15s %9s\n' "" median min-max median min-max ratio
printf '%s\n' "${TABLE[@]}"
say
say "Whole processes as this shell sees them; /bin/true takes $(ms "$median") ms here."
say
say "Next: build/bin/brood serve --demo  (sessions in the browser: click the address that it prints)"
