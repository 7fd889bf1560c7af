// What kernels over single elements share (elementwise.cuh).
#pragma once

/// Threads per block; one takes 16 bytes.
#define ELEMENTWISE_THREADS 256
