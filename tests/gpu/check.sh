#!/usr/bin/env bash
# What a machine with an NVIDIA GPU, and no network, can tell of the CUDA backend: builds the package,
# runs the kernels' tests, Caffe's golden layers and runs, and the sanitizers on the device, times
# steps against PyTorch, and then trains the report's runs until its time is up.
#
#   tests/gpu/check.sh --out results --minutes 9 --wheels wheels --data data
#
#   --out DIR       for what is found: parts.jsonl (a line for each part), summary.txt, logs.tar.gz,
#                   runs.tar.gz.00 and on (`cat runs.tar.gz.* | tar xz`: without weights, but with
#                   what unfinished runs go on from); no file above 15 MiB
#   --work DIR      for what a later call goes on with: build, data, runs, caches (OUT.work)
#   --minutes M     all in all (9)
#   --only A,B      these parts alone
#   --wheels DIR    wheels to install of what this Python lacks (lmdb, grpcio-tools,
#                   scikit-build-core)
#   --wheel FILE    this package, built already, and then also
#   --programs DIR  its C++ tests: the folder tests/cpp of a build
#   --data DIR      any number of times: databases as `pycaffe_clr data` writes them, the makers'
#                   files or archives of them, or those beside an `unpack.py OUT` that writes them
#   --runs DIR      runs of an earlier call, to be gone on with: runs/ of its runs.tar.gz
#   --host LIBRARY  without a GPU, everything small: the backend on the host
#                   (libpcc_cuda_host.so, beside the C++ tests of a build) in the installed package
#
# Needs python3 with what the package needs, torch, pytest, cmake, ninja, pybind11 and
# scikit-build-core; and nvcc, in PATH or /usr/local/cuda. Each part has a time limit of its own, and
# what fails stops no other.
set -uo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
options=("$@") data=() call=()
out="" work="" minutes=9 only="" wheels="" wheel="" programs="" runs="" host=""
while [ $# -gt 0 ]; do
  case $1 in
    --call) shift && call=("$@") && break ;; # a function of parts.sh, as part() asks for it
    --out) out=${2:-} ;; --work) work=${2:-} ;; --minutes) minutes=${2:-} ;; --only) only=${2:-} ;;
    --wheels) wheels=${2:-} ;; --wheel) wheel=${2:-} ;; --programs) programs=${2:-} ;;
    --data) data+=("${2:-}") ;; --runs) runs=${2:-} ;; --host) host=$(realpath "${2:-}") ;;
    *) echo "$1 is unknown; the first lines of $0 say what there is" && exit 2 ;;
  esac
  shift 2 || { echo "$1 needs a value" && exit 2; }
done
[ -n "$out" ] || { echo "--out DIR is needed" && exit 2; }
mkdir -p "$out" && out=$(cd "$out" && pwd)
work=${work:-$out.work}
mkdir -p "$work"/{logs,runs,given,data,site} && work=$(cd "$work" && pwd)
source "$root/tests/gpu/parts.sh"
if [ ${#call[@]} -gt 0 ]; then
  "${call[@]}"
  exit
fi
[ -z "$runs" ] || cp -rn "$runs"/. "$work/runs/"

deadline=$((SECONDS + 60 * minutes)) group_end=0

# budget SECONDS: the parts that follow have so many together.
budget() {
  group_end=$((SECONDS + $1))
  [ "$group_end" -lt "$deadline" ] || group_end=$deadline
}

# part NAME LIMIT FUNCTION...: calls it in a process of its own, its output in logs/NAME.log, and adds
# its line to parts.jsonl.
part() {
  local name=$1 limit=$2 began=$SECONDS left=$((group_end - SECONDS)) log="$work/logs/$1.log"
  shift 2
  [ -z "$only" ] || [[ ",$only," == *",$name,"* ]] || return 0
  [ "$limit" -lt "$left" ] || limit=$left
  if [ "$limit" -lt 5 ]; then
    echo "{\"part\": \"$name\", \"skipped\": \"no time is left\"}" >> "$out/parts.jsonl"
    return 0
  fi
  timeout --kill-after=10 "$limit" bash "$0" "${options[@]}" --call "$@" \
    > "$log" 2>&1 < /dev/null
  python3 "$root/tests/gpu/summary.py" part "$name" $? $((SECONDS - began)) "$limit" "$log" |
    tee -a "$out/parts.jsonl"
  flock "$work" tar -C "$work" -czf "$out/logs.tar.gz" logs
}

budget 180
part machine 20 machine
part install 170 install
part programs 120 compile_programs

budget 180
# On cores, and in gaps, that the rest leaves.
part data 170 prepare_data &
part compile 175 prepare_torch &
part plans 120 plans &
part smoke 30 smoke
part kernels 60 kernels
for tool in memcheck racecheck initcheck; do part $tool 150 sanitizer $tool & done
part layers 60 golden_layers
part trajectories 60 golden_trajectories
part repeat 60 repeat
part ranks 30 ranks
wait

budget 180
part ceilings 20 ceilings
part times 40 times
part bench 120 bench 110 resnet56 bf16
part profile 40 profile

budget $((deadline - SECONDS))
while read -r solver precision seed; do
  part "train-$solver-$precision-$seed" $((60 * minutes)) train "$solver" "$precision" "$seed"
  pack_runs
done < <(report_runs)
part bench-rest 600 bench_rest

python3 "$root/tests/gpu/summary.py" all "$out/parts.jsonl" "$work" | tee "$out/summary.txt"
