//! How far a run is: a bar on a terminal, now and then a line elsewhere.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};

use super::short;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The weight of the latest step in the average duration of a step.
const RECENT: f64 = 0.1;

/// A line on standard error. Where nobody reads that any more, a run goes on without.
pub fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}

/// Progress of a training run, on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: u64,
    images_per_step: usize,
    last_step: Instant,
    last_line: Option<Instant>,
    seconds_per_step: Option<f64>,
}

impl Progress {
    /// A run of `steps` optimizer steps of which `done` are done, with `images_per_step` images each.
    pub fn new(done: u64, steps: u64, images_per_step: usize) -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{pos:>6}/{len} {bar:24.cyan/blue} {wide_msg}")
                .expect("the template is valid");
            let bar = ProgressBar::new(steps).with_style(style.progress_chars("━╸─")).with_position(done);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Progress { bar, steps, images_per_step, last_step: Instant::now(), last_line: None, seconds_per_step: None }
    }

    /// `done` steps are done; `losses` are what is shown, by name.
    pub fn step(&mut self, done: u64, losses: &[(&str, f32)]) {
        let seconds = self.last_step.elapsed().as_secs_f64();
        self.last_step = Instant::now();
        self.seconds_per_step = Some(self.seconds_per_step.map_or(seconds, |mean| mean + RECENT * (seconds - mean)));
        let message = self.message(done, losses);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message);
        } else if done == self.steps || self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            note(format_args!("step {done}/{}  {message}", self.steps));
        }
    }

    /// Images trained on per second, averaged over the latest steps; 0 before the first.
    pub fn images_per_second(&self) -> f32 {
        self.seconds_per_step.map_or(0.0, |seconds| (self.images_per_step as f64 / seconds.max(1e-9)) as f32)
    }

    /// Prints a line without disturbing the bar.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => note(line),
        }
    }

    /// Leaves the bar as it stands.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }

    fn message(&self, done: u64, losses: &[(&str, f32)]) -> String {
        let left = self.steps.saturating_sub(done) as f64 * self.seconds_per_step.unwrap_or(0.0);
        let left = FormattedDuration(Duration::try_from_secs_f64(left.round()).unwrap_or(Duration::MAX));
        let mut message = format!("{} images/s, {left} left", short(self.images_per_second()));
        for (name, value) in losses {
            message.push_str(&format!("  {name} {}", short(*value)));
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_speed_time_left_and_losses() {
        let mut progress = Progress::new(0, 100, 4);
        assert_eq!(progress.images_per_second(), 0.0);
        progress.seconds_per_step = Some(0.5);
        assert_eq!(
            progress.message(40, &[("loss", 0.123456), ("psnr", 21.0)]),
            "8.000 images/s, 00:00:30 left  loss 0.1235  psnr 21.00"
        );
    }
}
