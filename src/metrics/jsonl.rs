//! `metrics.jsonl`: one JSON object per logged step.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use crate::checkpoint::atomic;
use crate::error::{Error, Result};

const FILE: &str = "metrics.jsonl";

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Record {
    /// Optimizer steps done.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// The logged values by name; none where a value was not finite.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
}

/// Reads the `metrics.jsonl` of the folder `run`. A last line that a kill tore is left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] naming the first line that cannot be read.
pub fn read(run: &Path) -> Result<Vec<Record>> {
    let path = run.join(FILE);
    let text = fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
    complete_lines(&text).enumerate().map(|(index, line)| parse(&path, index, line)).collect()
}

/// `metrics.jsonl` opened for appending.
pub(super) struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    pub(super) fn create(run: &Path) -> Result<Lines> {
        let path = run.join(FILE);
        let opened = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = opened.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Data(format!(
                "{} exists already: choose another folder, or resume the run in this one",
                path.display()
            )),
            _ => Error::io(&path, source),
        })?;
        Ok(Lines { path, file })
    }

    /// Drops the lines after `step`; also gives the seconds of the last line that stays.
    pub(super) fn resume(run: &Path, step: u64) -> Result<(Lines, f64)> {
        let path = run.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| Error::io(&path, source))?,
        };
        let (mut kept, mut seconds) = (String::new(), 0.0);
        for (index, line) in complete_lines(&text).enumerate() {
            let record = parse(&path, index, line)?;
            if record.step <= step {
                kept.push_str(line);
                kept.push('\n');
                seconds = record.seconds;
            }
        }
        atomic::write(&path, |file| file.write_all(kept.as_bytes()))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|source| Error::io(&path, source))?;
        Ok((Lines { path, file }, seconds))
    }

    /// Appends one line, in one write.
    pub(super) fn append(&mut self, step: u64, seconds: f64, values: &[(&str, f32)]) -> Result<()> {
        let head = [("step", Number::Integer(step)), ("seconds", Number::Double((seconds * 1e3).round() / 1e3))];
        let pairs = head.into_iter().chain(values.iter().map(|&(name, value)| (name, Number::Float(value))));
        let mut line = Vec::new();
        // In the caller's order, which a map of JSON values would not keep.
        serde_json::Serializer::new(&mut line).collect_map(pairs).expect("numbers by name are always JSON");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| Error::io(&self.path, source))
    }
}

/// Numbers by their own precision, so that an f32 is written with no more digits than it has.
#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Integer(u64),
    Double(f64),
    Float(f32),
}

fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

fn parse(path: &Path, index: usize, line: &str) -> Result<Record> {
    serde_json::from_str(line)
        .map_err(|error| Error::Data(format!("{}:{}: not a line of metrics: {error}", path.display(), index + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &mut Lines, steps: std::ops::RangeInclusive<u64>) {
        for step in steps {
            lines.append(step, step as f64, &[("loss", 0.1 * step as f32), ("kl", f32::NAN)]).unwrap();
        }
    }

    #[test]
    fn a_resumed_file_equals_an_uninterrupted_one() {
        let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        log(&mut Lines::create(whole.path()).unwrap(), 1..=6);
        log(&mut Lines::create(resumed.path()).unwrap(), 1..=4);
        let path = resumed.path().join(FILE);
        fs::write(&path, [&fs::read(&path).unwrap()[..], b"{\"step\":5,\"sec"].concat()).unwrap();
        assert_eq!(read(resumed.path()).unwrap().len(), 4, "the torn line does not count");
        let (mut lines, seconds) = Lines::resume(resumed.path(), 3).unwrap();
        assert_eq!(seconds, 3.0);
        log(&mut lines, 4..=6);
        assert_eq!(fs::read_to_string(path).unwrap(), fs::read_to_string(whole.path().join(FILE)).unwrap());
    }

    #[test]
    fn lines_are_short_and_read_back() {
        let run = tempfile::tempdir().unwrap();
        log(&mut Lines::create(run.path()).unwrap(), 1..=1);
        let text = fs::read_to_string(run.path().join(FILE)).unwrap();
        assert_eq!(text, "{\"step\":1,\"seconds\":1.0,\"loss\":0.1,\"kl\":null}\n");
        let values = BTreeMap::from([("loss".to_owned(), Some(0.1)), ("kl".to_owned(), None)]);
        assert_eq!(read(run.path()).unwrap(), [Record { step: 1, seconds: 1.0, values }]);
    }

    #[test]
    fn a_run_is_never_overwritten_and_damage_is_named() {
        let run = tempfile::tempdir().unwrap();
        log(&mut Lines::create(run.path()).unwrap(), 1..=1);
        let path = run.path().join(FILE);
        let exists = Lines::create(run.path()).err().unwrap().to_string();
        assert_eq!(
            exists,
            format!("{} exists already: choose another folder, or resume the run in this one", path.display())
        );
        fs::write(&path, [&fs::read(&path).unwrap()[..], b"oops\n"].concat()).unwrap();
        let damage = read(run.path()).unwrap_err().to_string();
        assert!(damage.starts_with(&format!("{}:2: not a line of metrics: ", path.display())), "{damage}");
    }
}
