// The loss of a flow: squared error and direction of the predicted velocity, sample by sample.
#pragma once
#include <stdint.h>

/// mse[b] = weight[b]·mean over the sample of (pred − target)²;
/// cos[b] = mean over its rows of 1 − pred·target / (max(‖pred‖, eps)·max(‖target‖, eps)).
struct VelocityLossFwd {
    uint64_t pred;    ///< (batch, rows, channels), read
    uint64_t target;  ///< (batch, rows, channels), f32, read
    uint64_t weight;  ///< (batch), f32, or absent, read
    uint64_t mse;     ///< (batch), f32, written
    uint64_t cos;     ///< (batch), f32, written
    uint32_t batch;
    uint32_t rows;
    uint32_t channels;
    float eps;
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
