//! From a case of the engine's tables to the oracle function that defines it: unpacks settings and optional inputs.

use super::oracle::*;

/// A case's settings and inputs, as the oracle sees them.
pub struct Call<'a> {
    pub settings: &'a [(&'static str, f64)],
    /// An absent input has shape [0].
    pub inputs: &'a [Array],
}

impl Call<'_> {
    fn setting(&self, name: &str) -> f64 {
        let found = self.settings.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("the case states no setting `{name}`")).1
    }

    fn size(&self, name: &str) -> usize {
        self.setting(name) as usize
    }

    fn flag(&self, name: &str) -> bool {
        self.setting(name) != 0.0
    }

    fn optional(&self, i: usize) -> Option<&Array> {
        Some(&self.inputs[i]).filter(|input| input.shape != [0])
    }
}

/// The outputs of the op called `op`; `None` where the oracle does not know it.
pub fn outputs(op: &str, call: &Call) -> Option<Vec<Array>> {
    let x = &call.inputs[0];
    let input = |i: usize| &call.inputs[i];
    let one = match op {
        "add" => x.zip(input(1), |a, b| a + b),
        "add_positions" => add_positions(x, input(1)),
        "attention" => attention_of(call),
        "batch_norm_eval" => batch_norm_eval(x, input(1), input(2), call.setting("eps"), (input(3), input(4))),
        "batch_norm_train" => {
            let zeros = Array::zeros(&input(1).shape);
            batch_norm_train(x, input(1), input(2), call.setting("eps"), 0.1, (&zeros, &zeros)).y
        }
        "batch_norm_statistics" => {
            let running = (input(3), input(4));
            let BatchNorm { running_mean, running_var, .. } =
                batch_norm_train(x, input(1), input(2), call.setting("eps"), call.setting("momentum"), running);
            return Some(vec![running_mean, running_var]);
        }
        "chunk" => {
            let (parts, packed) = (call.size("parts"), x.shape[x.shape.len() - 1]);
            let cols = packed / parts;
            return Some((0..parts).map(|i| x.last_axis(i * cols, (i + 1) * cols)).collect());
        }
        "combine" => {
            let terms = call.settings.iter().zip(call.inputs);
            terms.fold(Array::zeros(&x.shape), |sum, ((_, factor), x)| sum.zip(x, |sum, x| sum + factor * x))
        }
        "conv2d" => conv2d_of(call),
        "conv2d_before_norm" => group_norm_of(call, &conv2d_of(call), [4, 5]),
        "cosine_similarity" => cosine_similarity(x, input(1), call.setting("eps")),
        "drop_token" => drop_token(x),
        "embedding" => embedding(x, input(1)),
        "gate" => gate_of(x, input(1), input(2)),
        "gated_linear" => joined(linear(x, input(1), call.optional(2)), call.optional(3), call.optional(4)),
        "gaussian" => {
            let Gaussian { z, kl, .. } = diagonal_gaussian(x, input(1));
            let mean = kl.sum() / kl.data.len() as f64;
            return Some(vec![z, Array::new(&[1], vec![mean])]);
        }
        "gelu_erf" => gelu_erf(x),
        "gelu_tanh" => gelu_tanh(x),
        "group_norm" => return Some(vec![group_norm_of(call, x, [1, 2]), x.clone()]),
        "guidance" => {
            let (scale, guided, channels) = (call.setting("scale"), call.size("guided"), x.shape[x.shape.len() - 1]);
            let (cond, uncond) = (x.matrix(), input(1).matrix());
            Array::build(cond.dims::<2>(), |at| {
                let (cond, uncond) = (cond.at(at), uncond.at(at));
                if at[1] < guided.min(channels) { uncond + scale * (cond - uncond) } else { cond }
            })
            .reshape(&x.shape)
        }
        "hinge_d" => Array::new(&[1], vec![hinge_d(x, input(1))]),
        "image" => {
            let count = ["height", "width", "channels"].map(|side| call.size(side));
            let byte = |at: usize| (x.data[at / 4] as u32).to_le_bytes()[at % 4];
            let pixels = (0..count.iter().product()).map(|at| f64::from(byte(at)) / 127.5 - 1.0).collect();
            Array::new(&[&[1][..], &count].concat(), pixels)
        }
        "interpolate" => return Some(interpolate(x, input(1), input(2)).into()),
        "kl_terms" => {
            let double = x.shape[x.shape.len() - 1];
            let mut latents = x.shape.clone();
            latents[x.shape.len() - 1] = double / 2;
            diagonal_gaussian(x, &Array::zeros(&latents)).kl_terms
        }
        "l2_normalize" => l2_normalize(x, call.setting("eps")),
        "layer_norm" => layer_norm_of(call, x),
        "layer_norm_residual" => {
            let x = joined_by(x, call.optional(5), call.optional(6));
            return Some(vec![layer_norm_of(call, &x), x]);
        }
        "leaky_relu" => leaky_relu(x, call.setting("slope")),
        "linear" => linear(x, input(1), call.optional(2)),
        "linear_residual" => return Some(vec![linear(x, input(1), call.optional(2)), x.clone()]),
        "max_pool2" => max_pool2(x),
        "mlp" => {
            let f = [silu, gelu_erf, gelu_tanh, swiglu][call.size("activation")];
            let hidden = f(&linear(x, input(1), call.optional(2)));
            joined(linear(&hidden, input(3), call.optional(4)), call.optional(5), call.optional(6))
        }
        "modulate" => modulated(x.clone(), call.optional(1), call.optional(2)),
        "prepend_token" => prepend_token(x, input(1), input(2)),
        "qkv_attention" => qkv_attention_of(call),
        "resize_bicubic_antialias" => resize_bicubic_antialias(x, call.size("height"), call.size("width")),
        "resize_bilinear" => resize_bilinear(x, call.size("height"), call.size("width")),
        "rms_norm" => rms_norm_of(call, x),
        "rms_norm_residual" => {
            let x = joined_by(x, call.optional(4), call.optional(5));
            return Some(vec![rms_norm_of(call, &x), x]);
        }
        "rope" => {
            let [b, n, c] = x.dims();
            let heads = call.size("heads");
            rope_2d(&x.reshape(&[b, n, heads, c / heads]), call.size("grid_w")).reshape(&x.shape)
        }
        "silu" => silu(x),
        "swiglu" => swiglu(x),
        "timestep_embedding" => timestep_embedding(x, call.size("dim")),
        "transpose" => {
            let [outer, rows, cols] = x.dims();
            Array::build([outer, cols, rows], |[o, c, r]| x.at([o, r, c]))
        }
        "unpatchify" => unpatchify(x, call.size("patch"), call.size("grid_w"), call.size("channels")),
        "upsample_nearest2" => upsample_nearest2(x),
        "velocity_loss" => return Some(velocity_loss(x, input(1), call.optional(2)).into()),
        "vf_loss" => {
            let loss = vf_loss_of(call);
            return Some([loss.mdms, loss.mcos].map(|part| Array::new(&[1], vec![part])).into());
        }
        _ => return None,
    };
    Some(vec![one])
}

fn attention_of(call: &Call) -> Array {
    let heads = call.size("heads");
    let by_head = |x: &Array| {
        let [b, n, c] = x.dims();
        x.reshape(&[b, n, heads, c / heads])
    };
    let [q, k, v] = [0, 1, 2].map(|i| by_head(&call.inputs[i]));
    attention(&q, &k, &v).reshape(&call.inputs[0].shape)
}

fn qkv_attention_of(call: &Call) -> Array {
    let packed = &call.inputs[0];
    let ([b, n, cols], heads) = (packed.dims(), call.size("heads"));
    let head_dim = cols / 3 / heads;
    let part = |i| packed.last_axis(i * cols / 3, (i + 1) * cols / 3).reshape(&[b, n, heads, head_dim]);
    let [q, k] = [0, 1].map(|i| {
        let rows = match call.optional(1 + i) {
            Some(weight) => rms_norm(&part(i), Some(weight), call.setting("eps"), None),
            None => part(i),
        };
        if call.flag("rope") { rope_2d(&rows, call.size("grid_w")) } else { rows }
    });
    attention(&q, &k, &part(2)).reshape(&[b, n, cols / 3])
}

fn conv2d_of(call: &Call) -> Array {
    let x = if call.flag("upsample") { upsample_nearest2(&call.inputs[0]) } else { call.inputs[0].clone() };
    let ([_, h, w, _], [_, kh, kw, _]) = (x.dims(), call.inputs[1].dims::<4>());
    let pads = ["top", "left", "bottom", "right"].map(|side| call.size(side));
    let geometry = ConvGeometry::new([h, w], [kh, kw], call.size("stride"), pads);
    let y = conv2d(&x, &call.inputs[1], call.optional(2), geometry);
    match call.optional(3) {
        Some(residual) => y.zip(residual, |y, residual| y + residual),
        None => y,
    }
}

/// `affine`: which inputs are weight and bias.
fn group_norm_of(call: &Call, x: &Array, affine: [usize; 2]) -> Array {
    let (batch, channels) = (x.shape[0], x.shape[x.shape.len() - 1]);
    let image = x.reshape(&[batch, x.data.len() / batch / channels, 1, channels]);
    let (groups, eps) = (call.size("groups"), call.setting("eps"));
    let [weight, bias] = affine.map(|i| &call.inputs[i]);
    group_norm(&image, weight, bias, groups, eps, call.flag("silu")).reshape(&x.shape)
}

/// x + gate·branch, where a branch is there.
fn joined_by(x: &Array, branch: Option<&Array>, gate: Option<&Array>) -> Array {
    branch.zip(gate).map_or_else(|| x.clone(), |(branch, gate)| gate_of(x, gate, branch))
}

fn layer_norm_of(call: &Call, x: &Array) -> Array {
    let affine = call.optional(1).zip(call.optional(2));
    let y = layer_norm(x, affine, call.setting("eps"), None);
    modulated(y, call.optional(3), call.optional(4))
}

fn rms_norm_of(call: &Call, x: &Array) -> Array {
    let y = rms_norm(x, call.optional(1), call.setting("eps"), None);
    modulated(y, call.optional(2), call.optional(3))
}

/// One gate for the whole batch where it has a single row.
fn gate_of(x: &Array, gate: &Array, y: &Array) -> Array {
    let (b, c) = (x.shape[0], x.shape[x.shape.len() - 1]);
    let ([gates, _], tokens) = (gate.dims(), [b, x.data.len() / b / c, c]);
    let of_images = Array::build([b, c], |[b, c]| gate.at([b % gates, c]));
    gate_residual(&x.reshape(&tokens), &of_images, &y.reshape(&tokens)).reshape(&x.shape)
}

/// A branch (B, .., C) at the end of which a residual waits, or none, with a gate, or 1.
fn joined(branch: Array, residual: Option<&Array>, gate: Option<&Array>) -> Array {
    let Some(residual) = residual else { return branch };
    let ones = Array::build([1, branch.shape[branch.shape.len() - 1]], |_| 1.0);
    gate_of(residual, gate.unwrap_or(&ones), &branch)
}

/// y·(1 + scale) + shift of (B, .., C) by (B, C), each where it is there.
fn modulated(y: Array, scale: Option<&Array>, shift: Option<&Array>) -> Array {
    let (batch, channels) = (y.shape[0], y.shape[y.shape.len() - 1]);
    let tokens = y.reshape(&[batch, y.data.len() / batch / channels, channels]);
    let unscaled = Array::zeros(&[batch, channels]);
    modulate(&tokens, scale.unwrap_or(&unscaled), shift).reshape(&y.shape)
}

fn add_positions(x: &Array, table: &Array) -> Array {
    Array::build(x.dims::<3>(), |[b, n, c]| x.at([b, n, c]) + table.at([n, c]))
}

/// Token (i, j) holds a patch of pixels (u, v), row by row: pixel (i·p + u, j·p + v) of the image.
fn unpatchify(x: &Array, p: usize, grid_w: usize, channels: usize) -> Array {
    let [b, n, cols] = x.dims();
    let x = x.reshape(&[b, n / grid_w, grid_w, p, p, cols / (p * p)]);
    Array::build([b, n / grid_w * p, grid_w * p, channels], |[b, row, column, c]| {
        x.at([b, row / p, column / p, row % p, column % p, c])
    })
}

/// xt and ut of noise x0 and data x1 with (α, σ, α′, σ′) of each sample.
fn interpolate(x0: &Array, x1: &Array, coefficients: &Array) -> [Array; 2] {
    let (batch, count) = (x1.shape[0], x1.data.len() / x1.shape[0]);
    let [noise, data] = [x0, x1].map(|x| x.reshape(&[batch, count]));
    [0, 2].map(|first| {
        let at = |[b, i]: [usize; 2]| {
            coefficients.at([b, first]) * data.at([b, i]) + coefficients.at([b, first + 1]) * noise.at([b, i])
        };
        Array::build([batch, count], at).reshape(&x1.shape)
    })
}

fn drop_token(x: &Array) -> Array {
    let [b, n, c] = x.dims();
    Array::build([b, n - 1, c], |[b, n, c]| x.at([b, n + 1, c]))
}

fn prepend_token(x: &Array, cls: &Array, pos: &Array) -> Array {
    let [b, n, c] = x.dims();
    Array::build([b, n + 1, c], |[b, n, c]| pos.at([n, c]) + if n == 0 { cls.at([c]) } else { x.at([b, n - 1, c]) })
}

fn embedding(table: &Array, indices: &Array) -> Array {
    let ([_, c], [count]) = (table.dims(), indices.dims());
    Array::build([count, c], |[i, c]| table.at([indices.at([i]) as usize, c]))
}

/// With a projection of the latents, or none: then both are compared as they are.
fn vf_loss_of(call: &Call) -> VfLoss {
    let settings = VfSettings {
        distmat_margin: call.setting("distmat_margin"),
        cos_margin: call.setting("cos_margin"),
        distmat_weight: 1.0,
        cos_weight: 1.0,
    };
    let (z, f) = (&call.inputs[0], &call.inputs[2]);
    let width = z.shape[2];
    let identity = Array::build([width, width], |[i, j]| f64::from(u8::from(i == j)));
    vf_loss(z, f, Projection::Reverse { weight: call.optional(1).unwrap_or(&identity) }, settings)
}
