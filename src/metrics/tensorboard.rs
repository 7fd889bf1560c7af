//! TensorBoard event files: the part of TFRecord and of the `Event` protocol buffer that scalars and images need.
//!
//! Record: length u64, masked CRC-32C of the length, payload, masked CRC-32C of the payload, all little-endian. Field numbers
//! are those of tensorflow's `event.proto` and `summary.proto`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};

use crate::error::{Error, Result};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// An event file of this process; TensorBoard reads all files of a folder in the order of their names.
pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    pub(super) fn create(run: &Path) -> Result<Events> {
        let seconds = now() as u64;
        for count in 0.. {
            let path = run.join(format!("events.out.tfevents.{seconds:010}.vf-engine.{count}"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut events = Events { path, file };
                    events.write(&event(0, &bytes(3, b"brain.Event:2")))?; // file_version
                    return Ok(events);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(path, error)),
            }
        }
        unreachable!("a folder does not hold 2^31 files of one second")
    }

    /// Has TensorBoard forget what earlier files say of steps after `step`.
    pub(super) fn restart(&mut self, step: u64) -> Result<()> {
        let start = varint(1, 1); // SessionLog.status = START
        self.write(&event(step + 1, &bytes(7, &start)))
    }

    pub(super) fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> Result<()> {
        let summary: Vec<u8> = values.iter().flat_map(|(tag, value)| summary_value(tag, &fixed32(2, *value))).collect();
        self.write(&event(step, &bytes(5, &summary)))
    }

    /// `png` is the encoded image, `size` its width and height.
    pub(super) fn image(&mut self, step: u64, tag: &str, size: (u32, u32), png: &[u8]) -> Result<()> {
        const RGB: u64 = 3;
        let image = [varint(1, size.1.into()), varint(2, size.0.into()), varint(3, RGB), bytes(4, png)].concat();
        self.write(&event(step, &bytes(5, &summary_value(tag, &bytes(4, &image)))))
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let length = (payload.len() as u64).to_le_bytes();
        let record = [&length[..], &masked_crc(&length), payload, &masked_crc(payload)].concat();
        self.file.write_all(&record).map_err(|source| Error::io(&self.path, source))
    }
}

/// `Event { wall_time = 1, step = 2, … }`.
fn event(step: u64, body: &[u8]) -> Vec<u8> {
    [&[1 << 3 | 1][..], &now().to_le_bytes(), &varint(2, step), body].concat()
}

/// `Summary { repeated Value value = 1 }` with one `Value { tag = 1, … }`.
fn summary_value(tag: &str, body: &[u8]) -> Vec<u8> {
    bytes(1, &[&bytes(1, tag.as_bytes()), body].concat())
}

fn varint(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    push_varint(&mut out, value);
    out
}

fn fixed32(field: u8, value: f32) -> Vec<u8> {
    [&[field << 3 | 5][..], &value.to_le_bytes()].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    push_varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

/// Seven bits a byte, lowest first; the eighth says that more follow.
fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// TFRecord's CRC of data that may itself hold CRCs.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    CRC.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_published_form() {
        assert_eq!(varint(2, 300), [0x10, 0xac, 0x02]);
        assert_eq!(bytes(1, b"ab"), [0x0a, 2, b'a', b'b']);
        assert_eq!(fixed32(2, 1.0), [0x15, 0, 0, 0x80, 0x3f]);
        // CRC-32C of "123456789" is 0xe3069283 (RFC 3720); masked: rotated right by 15, plus the constant.
        let masked = u32::from_le_bytes(masked_crc(b"123456789"));
        assert_eq!(masked.wrapping_sub(0xa282_ead8).rotate_left(15), 0xe306_9283);
    }

    #[test]
    fn two_files_of_one_second_do_not_collide() {
        let run = tempfile::tempdir().unwrap();
        let (first, mut second) = (Events::create(run.path()).unwrap(), Events::create(run.path()).unwrap());
        second.scalars(1, &[("loss", 1.0)]).unwrap();
        assert!(first.path < second.path);
    }
}
