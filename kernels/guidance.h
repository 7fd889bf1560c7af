// Classifier-free guidance.
#pragma once
#include <stdint.h>

/// y = uncond + scale·(cond − uncond) in the first `guided` channels, cond in the others.
struct GuidanceFwd {
    uint64_t cond;    ///< (pixels, channels), read
    uint64_t uncond;  ///< (pixels, channels), read
    uint64_t y;       ///< (pixels, channels), written
    uint32_t pixels;
    uint32_t channels;
    uint32_t guided;
    float scale;
};

/// In the guided channels dcond = scale·dy and duncond = (1 − scale)·dy; in the others dcond = dy and duncond = 0.
struct GuidanceBwd {
    uint64_t dy;       ///< (pixels, channels), read
    uint64_t dcond;    ///< (pixels, channels) or absent, written
    uint64_t duncond;  ///< (pixels, channels) or absent, written
    uint32_t pixels;
    uint32_t channels;
    uint32_t guided;
    float scale;
};
