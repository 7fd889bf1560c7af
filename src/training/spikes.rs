//! The spike guard: a step whose loss or gradient is far out of line with those before it.

use crate::config::SpikeGuard;

/// Steps that must have been seen before one can be out of line.
const ENOUGH: usize = 10;

/// Why a step with this loss and gradient norm is out of line with `recent` ones, if it is.
pub(super) fn outlier(guard: &SpikeGuard, recent: &[[f32; 2]], step: [f32; 2]) -> Option<String> {
    if recent.len() < ENOUGH.min(guard.window) {
        return None;
    }
    let names = ["the loss", "the norm of the gradients"];
    names.into_iter().enumerate().find_map(|(i, name)| {
        let median = median(recent.iter().map(|values| values[i]).collect());
        // A loss may be negative or pass through zero: then there is nothing to be a multiple of.
        let out = median > 0.0 && f64::from(step[i]) > guard.factor * f64::from(median);
        out.then(|| format!("{name} is {}, more than {} times the median of {median}", step[i], guard.factor))
    })
}

/// Remembers a step that was not out of line.
pub(super) fn remember(guard: &SpikeGuard, recent: &mut Vec<[f32; 2]>, step: [f32; 2]) {
    recent.push(step);
    let excess = recent.len().saturating_sub(guard.window);
    recent.drain(..excess);
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SpikeAction;

    #[test]
    fn a_step_out_of_line_is_told_from_a_slow_change() {
        let guard = SpikeGuard { action: SpikeAction::Skip, factor: 5.0, window: 20 };
        let mut recent = vec![];
        assert_eq!(outlier(&guard, &recent, [1e9, 1.0]), None, "nothing to compare with yet");
        for i in 0..200 {
            // Tenfold over 200 steps, with noise of a factor of two.
            let value = 10f32.powf(i as f32 / 200.0) * (1.0 + (i % 2) as f32);
            assert_eq!(outlier(&guard, &recent, [value, value]), None, "step {i}");
            remember(&guard, &mut recent, [value, value]);
        }
        assert_eq!(recent.len(), 20);
        let median = recent[10][0];
        assert!(outlier(&guard, &recent, [6.0 * 2.0 * median, median]).unwrap().starts_with("the loss"));
        assert!(outlier(&guard, &recent, [median, 6.0 * 2.0 * median]).unwrap().contains("gradients"));
    }
}
