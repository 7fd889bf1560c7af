#!/bin/sh
# Compiles the kernels to the PTX beside them. Needs nvcc, by name or in NVCC.
cd "$(dirname "$0")" || exit 1
"${NVCC:-nvcc}" -ptx -arch=compute_80 kernels.cu -o kernels.ptx || exit 1
sed -i -e '/^[[:space:]]*\/\//d' -e '/^$/d' kernels.ptx
