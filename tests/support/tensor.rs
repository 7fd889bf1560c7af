//! Tensors as golden files hold them, and their change of layout.

/// A tensor of f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

impl Tensor {
    /// With axis `from` moved to become axis `to`, the others keeping their order.
    pub fn move_axis(&self, from: usize, to: usize) -> Tensor {
        let mut order: Vec<usize> = (0..self.shape.len()).collect();
        let axis = order.remove(from);
        order.insert(to, axis);
        let mut strides = vec![1; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        let shape: Vec<usize> = order.iter().map(|&axis| self.shape[axis]).collect();
        let data = (0..self.data.len())
            .map(|flat| {
                let mut rest = flat;
                let mut source = 0;
                for (&size, &axis) in shape.iter().zip(&order).rev() {
                    source += rest % size * strides[axis];
                    rest /= size;
                }
                self.data[source]
            })
            .collect();
        Tensor { shape, data }
    }

    /// (B, C, ..) → (B, .., C): images to channels-last and (O, I, kh, kw) to (O, kh, kw, I) alike.
    pub fn channels_last(&self) -> Tensor {
        self.move_axis(1, self.shape.len() - 1)
    }

    /// The inverse of [`Tensor::channels_last`].
    pub fn channels_first(&self) -> Tensor {
        self.move_axis(self.shape.len() - 1, 1)
    }

    /// The largest magnitude.
    pub fn largest(&self) -> f64 {
        f64::from(self.data.iter().fold(0.0, |most, v| v.abs().max(most)))
    }
}
