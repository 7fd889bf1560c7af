// The class token of vision transformers.
#pragma once
#include <stdint.h>

/// y = (cls | x) + pos along the tokens.
struct PrependTokenFwd {
    uint64_t x;    ///< (batch, tokens, cols), read
    uint64_t cls;  ///< (cols) f32, read
    uint64_t pos;  ///< (tokens + 1, cols) f32, read
    uint64_t y;    ///< (batch, tokens + 1, cols), written
    uint32_t batch;
    uint32_t tokens;
    uint32_t cols;
    uint32_t reserved;
};

/// dx = dy without its first token, dcls = Σ_batch dy[0], dpos = Σ_batch dy.
struct PrependTokenBwd {
    uint64_t dy;    ///< (batch, tokens + 1, cols), read
    uint64_t dx;    ///< (batch, tokens, cols) or absent, written
    uint64_t dcls;  ///< (cols) f32 or absent, written
    uint64_t dpos;  ///< (tokens + 1, cols) f32 or absent, written
    uint32_t batch;
    uint32_t tokens;
    uint32_t cols;
    uint32_t reserved;
};

/// y = x without its first token.
struct DropTokenFwd {
    uint64_t x;  ///< (batch, tokens + 1, cols), read
    uint64_t y;  ///< (batch, tokens, cols), written
    uint32_t batch;
    uint32_t tokens;
    uint32_t cols;
    uint32_t reserved;
};

/// dx = dy behind a first token of zeros.
struct DropTokenBwd {
    uint64_t dy;  ///< (batch, tokens, cols), read
    uint64_t dx;  ///< (batch, tokens + 1, cols), written
    uint32_t batch;
    uint32_t tokens;
    uint32_t cols;
    uint32_t reserved;
};
