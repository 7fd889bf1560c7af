#!/bin/sh
# Packs the kernel's PTX uncompressed, with LZ4 (what nvcc calls speed) and with zstd (size). Needs nvcc 13, by name or in NVCC.
cd "$(dirname "$0")" || exit 1
for mode in none speed size; do
    "${NVCC:-nvcc}" -fatbin -gencode arch=compute_80,code=compute_80 --compress-mode=$mode scale.cu -o scale_$mode.fatbin || exit 1
done
