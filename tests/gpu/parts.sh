# The parts of check.sh, each a function that it calls in a process of its own.

threads=$(nproc)
export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
export PYCAFFE_CLR_SHARED=${PYCAFFE_CLR_SHARED:-$root/../shared}
export TORCHINDUCTOR_CACHE_DIR="$work/inductor" XDG_CACHE_HOME="$work/cache"
if [ -n "$host" ]; then
  device=cuda_host programs=${programs:-$(dirname "$host")}
  command=(python3 "$root/tests/gpu/on_host.py" "$host") test_options=(--cuda-host "$host")
  bench_options=(--device cuda_host --cuda-host "$host" --torch-device cpu --batch 1
    --seconds 0.1 --ways graph)
  small=(--batch 2 --test-batch 2 --set test_iter=1 --no-whole-test
    --set-net layer.ip1.inner_product_param.num_output=16)
else
  device=cuda programs=${programs:-$work/build/tests/cpp}
  command=(python3 -m pycaffe_clr) test_options=(--device cuda)
  bench_options=() small=()
  export PYCAFFE_CLR_TEST_GPU=1
fi

command -v nvcc > /dev/null || export PATH="$PATH:/usr/local/cuda/bin"

# The device's machine, as it is found.
machine() {
  [ -n "$host" ] || nvidia-smi --format=csv \
    --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.max.mem
  nvcc --version | tail -n 2
  python3 -c 'import torch; print("torch", torch.__version__, torch.backends.cudnn.version())'
  grep -m 1 "model name" /proc/cpuinfo
  echo "$(python3 --version), $threads cores"
}

install() {
  [ -z "$host" ] || { python3 -c "import pycaffe_clr; print(pycaffe_clr.__file__)" && return; }
  local pip=(python3 -m pip install --no-index --no-deps --no-compile --upgrade
    --target "$work/site")
  [ -z "$wheels" ] || "${pip[@]}" -q "$wheels"/*.whl || return 1
  if [ -n "$wheel" ]; then
    "${pip[@]}" -q "$wheel" || return 1
  else
    CMAKE_BUILD_PARALLEL_LEVEL=$threads "${pip[@]}" -v --no-build-isolation "$root" \
      -C build-dir="$work/build" -C cmake.define.PYCAFFE_CLR_CUDA=ON \
      -C cmake.define.PYCAFFE_CLR_ONEDNN=OFF -C cmake.define.CMAKE_CUDA_ARCHITECTURES=90-real ||
      return 1
  fi
  "${command[@]}" version
}

kernel_tests() {
  [ -z "$host" ] || { echo test_kernels_data && return; }
  for file in "$root"/tests/cpp/test_{kernels_*,cuda_tensor}.cpp; do basename "$file" .cpp; done
}

# Upon the objects of the installation.
compile_programs() {
  if [ -d "$programs" ] && [ "$programs" != "$work/build/tests/cpp" ]; then
    ls "$programs"
    return
  fi
  cmake -S "$root" -B "$work/build" -G Ninja -DCMAKE_MAKE_PROGRAM="$(command -v ninja)" \
    -DPYCAFFE_CLR_PYTHON=OFF -DPYCAFFE_CLR_TESTS=ON -DPython_EXECUTABLE="$(command -v python3)" &&
    ninja -C "$work/build" -j "$threads" $(kernel_tests)
}

# The newest of what --data named comes to what was there before.
prepare_data() {
  local from set
  for from in ${data[@]+"${data[@]}"}; do cp -rn "$from"/. "$work/given/" || return 1; done
  for from in "$work"/given/*.tar "$work"/given/*.tar.gz "$work"/given/*.tgz; do
    [ ! -f "$from" ] || tar -C "$work/given" -xf "$from"
  done
  [ ! -f "$work/given/unpack.py" ] || python3 "$work/given/unpack.py" "$work/raw"
  [ ! -d "$work/given/examples" ] || cp -rn "$work/given/examples" "$work/data/"
  for set in mnist cifar10 cifar100; do
    for from in "$work"/{raw,given}/$set "$work"/{raw,given}; do
      [ ! -d "$from" ] || ! "${command[@]}" data $set --quiet --root "$work/data" --from "$from" ||
        break
    done
  done
  find "$work/data" -name '*_lmdb' | sort | grep .
}

smoke() {
  "${command[@]}" run lenet_sample --device $device --out "$work/smoke" --overwrite --no-curve \
    --no-whole-test --max-iter $([ -n "$host" ] && echo 3 || echo 60) "${small[@]}"
}

# Where programs that were built elsewhere find the libraries beside them, and any of them cuDNN.
find_libraries() {
  export LD_LIBRARY_PATH="$programs:$programs/../..:${LD_LIBRARY_PATH:-}"
  PYCAFFE_CLR_CUDNN_DIR=$(python3 -c 'import os; from pycaffe_clr import native
native.name_gpu_libraries(); print(os.environ.get("PYCAFFE_CLR_CUDNN_DIR", ""))')
  export PYCAFFE_CLR_CUDNN_DIR
}

kernels() {
  local said="$work/said"
  mkdir -p "$said"
  find_libraries
  kernel_tests | xargs -P "$threads" -I{} sh -c "'$programs/{}' > '$said/{}' 2>&1"
  local status=$?
  grep -hv "^ok " "$said"/* | head -n 300
  return $status
}

# on_device SELECTED FILE...: Python's tests, in fp32.
on_device() {
  local selected=$1
  shift
  python3 -m pytest -q -p no:cacheprovider -k "$selected" --precision fp32 "${test_options[@]}" \
    "$@"
}
# As they are compared to Caffe on the processor, too, and, where it is installed, by cuDNN.
golden_layers() {
  local way
  for way in plain $([ -n "$host" ] || echo cudnn); do
    PYCAFFE_CLR_CONVOLUTION=$way golden_layers_by "$([ $way = plain ] || echo " and conv")" || return 1
  done
}
golden_layers_by() {
  on_device "kernels$1$([ -z "$host" ] || echo " and conv_k3")" "$root/tests/test_golden_layers.py"
}
golden_trajectories() {
  on_device "$([ -n "$host" ] && echo "kernels and fused and v_sgd_L1" || echo "kernels or larger_net_goes")" \
    "$root/tests/test_golden_trajectories.py"
}

# The same bits from run to run, and from a run that was stopped.
repeat() { python3 "$root/tests/gpu/repeat.py" $device ${host:+"$host"}; }

# Gradients that go through NCCL.
ranks() { python3 "$root/tests/gpu/ranks.py" $device ${host:+"$host"}; }

sanitizer() {
  [ -z "$host" ] || { echo "no $1 on the host" && return; }
  find_libraries
  printf '%s\n' norm gemm elements loss data | xargs -P 5 -I{} compute-sanitizer --tool "$1" \
    --error-exitcode 1 --print-limit 20 --log-file "$work/logs/$1-{}.log" "$programs/test_kernels_{}"
  local status=$?
  tail -n 1 "$work/logs/$1"-*.log
  return $status
}

# What a step should take, to be met; and then what it takes.
nets="resnet56_1cycle wide32_1cycle densenet40_1cycle cifar3_1cycle lenet_1cycle"
[ -z "$host" ] || nets=lenet_1cycle
plans() {
  local net precision
  for net in $nets; do
    for precision in bf16 tf32 fp32; do
      COLUMNS=100 "${command[@]}" show "$net" --device $device --precision $precision \
        > "$work/plan-$precision" &
    done
    wait
    for precision in bf16 tf32 fp32; do
      echo "$net $precision"
      sed -n "/^a step's op/,\$p" "$work/plan-$precision" | grep . || return 1
    done
  done
}
times() {
  local setting
  # Convolutions that normalise what they read, and that read what is normalised.
  for setting in "bf16 always" "bf16 never" "tf32 always" "tf32 never" "fp32 model"; do
    echo "resnet56 $setting"
    set -- $setting
    PYCAFFE_CLR_PROLOGUE=$2 python3 "$root/tests/gpu/time_net.py" \
      $([ -n "$host" ] && echo lenet 1 || echo resnet56 128) $1 $device ${host:+"$host"} || return 1
  done
}

ceilings() { python3 "$root/tests/gpu/ceilings.py" ${host:+cpu}; }

# bench SECONDS NET PRECISION...: against PyTorch.
bench() {
  local seconds=$1 net=$2
  shift 2
  [ -z "$host" ] || net=lenet
  python3 "$root/tests/benchmarks/bench_gpu.py" --nets $net --precisions "$@" --rounds 2 \
    --total $seconds --json "$work/logs/bench.jsonl" "${bench_options[@]}"
}
bench_rest() {
  bench 110 resnet56 tf32 fp32
  local net
  for net in $([ -n "$host" ] || echo wide32 densenet40 lenet cifar3 resnet50); do
    bench 120 $net bf16 tf32 fp32
  done
}
# PyTorch's kernels, compiled into its cache while the card does other things.
prepare_torch() {
  python3 "$root/tests/benchmarks/bench_gpu.py" --prepare --limit 170 --nets \
    $([ -n "$host" ] && echo lenet || echo resnet56) --precisions bf16 tf32 \
    --ways autotune-graph max-autotune reduce-overhead "${bench_options[@]}"
}

# Where the time goes, by the counters of the card.
profile() {
  [ -z "$host" ] || { echo "no counters on the host" && return; }
  ncu --target-processes all --clock-control none --launch-skip 2000 --launch-count 400 --csv \
    --page raw --metrics \
    gpu__time_duration.sum,dram__bytes.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__warps_active.avg.pct_of_peak_sustained_active \
    python3 "$root/tests/gpu/time_net.py" resnet56 128 bf16 cuda > "$work/logs/profile.csv"
  wc -l "$work/logs/profile.csv"
}

# The report's runs, in the order of what they tell: SOLVER PRECISION SEED.
report_runs() {
  local seed
  if [ -n "$host" ]; then
    echo lenet_sample bf16 1
    echo lenet_sample tf32 2
    return
  fi
  for seed in 1 2 3 4; do echo resnet56_1cycle bf16 $seed; done
  for seed in 1 2; do echo resnet56_1cycle tf32 $seed; done
  echo cifar3_1cycle tf32 1
  echo lenet_1cycle tf32 1
  echo resnet56_1cycle fp32 1
  echo wide32_1cycle bf16 1
  echo densenet40_1cycle bf16 1
}
# train SOLVER PRECISION SEED: goes on with what it finds. It gets the signal that ends its time.
train() {
  exec "${command[@]}" run "$1" --device $device --precision "$2" --seed "$3" --resume \
    --no-curve --checkpoint-every 15 --data-dir "$work/data" --out "$work/runs/$1-$2-$3" \
    ${host:+--max-iter 3} "${small[@]}"
}
# Without the weights of runs that have ended: what goes on has a checkpoint.
pack_runs() {
  [ -n "$(ls "$work/runs")" ] || return 0
  rm -f "$out"/runs.tar.gz.*
  tar -C "$work" --exclude='*.caffemodel' --exclude='*.solverstate' -cz runs |
    split -b 15M -d - "$out/runs.tar.gz."
}
