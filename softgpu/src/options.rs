//! Settings: schedules, checks, and where reports go.

use std::env;
use std::path::PathBuf;
use std::thread::available_parallelism;

/// Which checks are on. Out-of-bounds, misaligned and freed memory, barriers and deadlocks are always checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Reads of memory that nothing wrote, and leaks.
    pub init: bool,
    /// Races between warps, within a warp, and between blocks.
    pub race: bool,
}

impl Checks {
    /// `all`, `memory` or `none` (neither of the two), or a list of `init` and `race`.
    pub fn parse(text: &str) -> Option<Checks> {
        let mut checks = Checks { init: false, race: false };
        for word in text.split(',') {
            match word.trim() {
                "all" => checks = Checks { init: true, race: true },
                "memory" | "none" => {}
                "init" => checks.init = true,
                "race" => checks.race = true,
                _ => return None,
            }
        }
        Some(checks)
    }
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which checks are on.
    pub checks: Checks,
    /// Of the order of warps and blocks.
    pub seed: u64,
    /// Host threads that run blocks.
    pub threads: usize,
    /// The model that is imitated: `a100` or `h100`.
    pub gpu: String,
    /// Device memory in bytes; `None`: as much as the model has. It takes room on the host only where it is used.
    pub memory_bytes: Option<u64>,
    /// Findings are appended to this file, a JSON object per line.
    pub report: Option<PathBuf>,
    /// Launches with their counters are appended to this file, a JSON object per line.
    pub counters: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            checks: Checks { init: true, race: true },
            seed: 0,
            threads: available_parallelism().map_or(1, usize::from),
            gpu: "a100".to_string(),
            memory_bytes: None,
            report: None,
            counters: None,
        }
    }
}

impl Options {
    /// From the environment: `SOFTGPU_CHECKS`, `_SEED`, `_THREADS`, `_GPU`, `_MEMORY`, `_REPORT`, `_COUNTERS`. A value that makes no
    /// sense is named on stderr, and the default used.
    pub fn from_env() -> Options {
        let mut options = Options::default();
        for key in ["checks", "seed", "threads", "gpu", "memory", "report", "counters"] {
            let variable = format!("SOFTGPU_{}", key.to_uppercase());
            if let Ok(value) = env::var(&variable)
                && let Err(message) = options.set(key, &value)
            {
                eprintln!("softgpu: {variable}={value}: {message}; the default is used");
            }
        }
        options
    }

    /// Sets one of the settings above, by its name in lower case.
    ///
    /// # Errors
    /// An unknown name, or a value that it does not take, in words; nothing is changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "checks" => {
                self.checks = Checks::parse(value).ok_or("use all, memory, none, or a list of init and race")?
            }
            "seed" => self.seed = value.parse().map_err(|_| "is not a whole number")?,
            "threads" => self.threads = value.parse().ok().filter(|&n| n > 0).ok_or("is not a whole number above 0")?,
            "gpu" if crate::gpu::Gpu::named(value).is_some() => self.gpu = value.to_string(),
            "gpu" => return Err("use a100 or h100".to_string()),
            "memory" => self.memory_bytes = Some(bytes(value).ok_or("use bytes, or a number with K, M or G")?),
            "report" => self.report = Some(value.into()),
            "counters" => self.counters = Some(value.into()),
            _ => return Err("there is no such setting".to_string()),
        }
        Ok(())
    }
}

/// A number of bytes, or of `K`, `M` or `G`; not 0.
fn bytes(text: &str) -> Option<u64> {
    let unit = |c| Some(1 << (10 * ("KMG".find(c)? as u32 + 1)));
    let (digits, unit) = match text.chars().last().and_then(unit) {
        Some(unit) => (&text[..text.len() - 1], unit),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_named() {
        let of = |text| Checks::parse(text).map(|c| (c.init, c.race));
        assert_eq!(of("all"), Some((true, true)));
        assert_eq!((of("memory"), of("none")), (Some((false, false)), Some((false, false))));
        assert_eq!((of("init"), of("race"), of("race, init")), (Some((true, false)), Some((false, true)), of("all")));
        assert_eq!((of(""), of("everything"), of("init,")), (None, None, None));
    }

    #[test]
    fn sizes_have_units_and_do_not_overflow() {
        assert_eq!((bytes("4096"), bytes("3K"), bytes("8G")), (Some(4096), Some(3 << 10), Some(8 << 30)));
        let wrong = ["", "G", "-1", "1.5G", "8T", "0", "0M", "18446744073709551615G", "8é"];
        assert!(wrong.iter().all(|text| bytes(text).is_none()));
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut options = Options::default();
        let wrong = [
            ("checks", "x"),
            ("seed", "-1"),
            ("threads", "two"),
            ("threads", "0"),
            ("gpu", "b200"),
            ("memory", "8X"),
            ("sed", "1"),
        ];
        assert!(wrong.iter().all(|(key, value)| options.set(key, value).is_err()));
        let default = Options::default();
        assert_eq!((options.seed, options.threads, options.gpu), (default.seed, default.threads, default.gpu));
    }
}
