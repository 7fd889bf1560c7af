// The loss of a flow: squared error and direction of the predicted velocity, sample by sample.
#pragma once
#include <stdint.h>

/// Rows that a team of threads takes at a time in the forward, so that many loads are under way.
#define VELOCITY_LOSS_ROWS 4

/// mse[b] = weight[b]·mean over the sample of (pred − target)²;
/// cos[b] = mean over its rows of 1 − pred·target / (max(‖pred‖, eps)·max(‖target‖, eps)). Both as sums over parts of the rows.
/// Grid: (parts, batch).
struct VelocityLossFwd {
    uint64_t pred;    ///< (batch, rows, channels), read
    uint64_t target;  ///< (batch, rows, channels), f32, read
    uint64_t weight;  ///< (batch), f32, or absent, read
    uint64_t mse;     ///< (batch, parts), f32, written
    uint64_t cos;     ///< (batch, parts), f32, written
    uint32_t batch;
    uint32_t rows;
    uint32_t channels;
    uint32_t parts;  ///< a sample's rows are cut into this many equal parts, the last ones shorter
    float eps;
    uint32_t reserved;
};

/// dpred = dmse[b]·weight[b]·2(pred − target)/(rows·channels)
///       − dcos[b]/rows·(target/(‖pred‖‖target‖) − cos·pred/‖pred‖²), the last term only where ‖pred‖ > eps.
struct VelocityLossBwd {
    uint64_t pred;    ///< (batch, rows, channels), read
    uint64_t target;  ///< (batch, rows, channels), f32, read
    uint64_t weight;  ///< (batch), f32, or absent, read
    uint64_t dmse;    ///< (batch), f32, or absent, read
    uint64_t dcos;    ///< (batch), f32, or absent, read
    uint64_t dpred;   ///< (batch, rows, channels), written
    uint32_t batch;
    uint32_t rows;
    uint32_t channels;
    float eps;
};
