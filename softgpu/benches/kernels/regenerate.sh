#!/usr/bin/env bash
# Compiles the kernels of the benchmark anew: NVCC=/path/to/nvcc ./regenerate.sh
set -euo pipefail
cd "$(dirname "$0")"
"${NVCC:-nvcc}" -O3 --ptx -arch=compute_80 -lineinfo rms_norm.cu -o rms_norm.ptx
