//! Images as NumPy's `.npz`, for evaluation scripts of ADM (Dhariwal and Nichol, 2021): one array, `arr_0`, of 8-bit
//! images (N, H, W, 3).
//!
//! An .npz is a zip archive; this one stores its array uncompressed, with the 64-bit sizes that fifty thousand images need.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use crate::checkpoint::atomic;
use crate::error::{Error, Result};

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
const NAME: &[u8] = b"arr_0.npy";

/// Writes the PNG files `images`, all of one size and read one by one, to `path`.
///
/// # Errors
/// A file that cannot be read or has another size than the first, named; or one that cannot be written.
pub fn write_npz(path: &Path, images: &[PathBuf]) -> Result<()> {
    let mut failure = None;
    let written = atomic::write(path, |file| {
        archive(file, images).map_err(|problem| match problem {
            Problem::Image(error) => {
                failure = Some(error);
                io::Error::other("an image could not be read")
            }
            Problem::File(error) => error,
        })
    });
    failure.map_or(written, Err)
}

enum Problem {
    Image(Error),
    File(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        Problem::File(error)
    }
}

fn archive(file: &mut (impl Write + Seek), images: &[PathBuf]) -> Result<(), Problem> {
    let mut size = None;
    let mut checksum = CRC.digest();
    let mut header = vec![];
    // The sum of the array is known at the end only: the archive's own header is written over then.
    local_header(file, 0, 0)?;
    for path in images {
        let wrong = |what: String| Problem::Image(Error::data(format!("{}: {what}", path.display())));
        let image = image::open(path).map_err(|e| wrong(e.to_string()))?.into_rgb8();
        if size.is_none() {
            header = npy_header([images.len(), image.height() as usize, image.width() as usize, 3]);
            checksum.update(&header);
            file.write_all(&header)?;
        }
        let first = *size.get_or_insert(image.dimensions());
        if image.dimensions() != first {
            return Err(wrong(format!("{:?} pixels, and the first image has {first:?}", image.dimensions())));
        }
        checksum.update(image.as_raw());
        file.write_all(image.as_raw())?;
    }
    let (width, height) = size.unwrap_or_default();
    let bytes = header.len() as u64 + 3 * u64::from(width) * u64::from(height) * images.len() as u64;
    let checksum = checksum.finalize();
    let end = file.stream_position()?;
    file.seek(SeekFrom::Start(0))?;
    local_header(file, checksum, bytes)?;
    file.seek(SeekFrom::Start(end))?;
    directory(file, checksum, bytes, end)?;
    Ok(())
}

/// The .npy format, version 1: a Python literal that ends in a line break at a multiple of 64 bytes.
fn npy_header(shape: [usize; 4]) -> Vec<u8> {
    let [n, h, w, c] = shape;
    let mut text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, {h}, {w}, {c}), }}");
    let preamble = 10;
    let length = (preamble + text.len() + 1).next_multiple_of(64) - preamble;
    text.push_str(&" ".repeat(length - text.len() - 1));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// Version 4.5 of the format: the first with 64-bit sizes.
const VERSION: u16 = 45;
/// Stands where the 64-bit field has the number.
const ELSEWHERE: u32 = u32::MAX;

/// What local header and directory have in common: version, flags, method (stored), time, date (1 January 1980), checksum,
/// sizes, and the lengths of name and extra field.
fn entry(checksum: u32, extra: u16) -> Vec<u8> {
    let mut bytes = vec![];
    for field in [VERSION, 0, 0, 0, 0x21] {
        bytes.extend(field.to_le_bytes());
    }
    for field in [checksum, ELSEWHERE, ELSEWHERE] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend((NAME.len() as u16).to_le_bytes());
    bytes.extend(extra.to_le_bytes());
    bytes
}

/// The extra field with 64-bit numbers.
fn numbers(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = 1u16.to_le_bytes().to_vec();
    bytes.extend((8 * numbers.len() as u16).to_le_bytes());
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes
}

fn local_header(file: &mut impl Write, checksum: u32, bytes: u64) -> io::Result<()> {
    let sizes = numbers(&[bytes, bytes]);
    file.write_all(&LOCAL.to_le_bytes())?;
    file.write_all(&entry(checksum, sizes.len() as u16))?;
    file.write_all(NAME)?;
    file.write_all(&sizes)
}

fn directory(file: &mut impl Write, checksum: u32, bytes: u64, start: u64) -> io::Result<()> {
    let place = numbers(&[bytes, bytes, 0]);
    let mut central = CENTRAL.to_le_bytes().to_vec();
    central.extend(VERSION.to_le_bytes());
    central.extend(entry(checksum, place.len() as u16));
    // No comment, disk 0, no attributes; the offset is in the extra field.
    central.extend([0; 2 + 2 + 2 + 4]);
    central.extend(ELSEWHERE.to_le_bytes());
    central.extend(NAME);
    central.extend(place);
    file.write_all(&central)?;
    let end = start + central.len() as u64;

    let mut tail = END_64.to_le_bytes().to_vec();
    tail.extend(44u64.to_le_bytes());
    [VERSION, VERSION].iter().for_each(|version| tail.extend(version.to_le_bytes()));
    tail.extend([0; 8]);
    [1, 1, central.len() as u64, start].iter().for_each(|number| tail.extend(number.to_le_bytes()));
    tail.extend(LOCATOR_64.to_le_bytes());
    tail.extend([0; 4]);
    tail.extend(end.to_le_bytes());
    tail.extend(1u32.to_le_bytes());
    tail.extend(END.to_le_bytes());
    tail.extend([0; 4]);
    [1u16, 1].iter().for_each(|count| tail.extend(count.to_le_bytes()));
    tail.extend((central.len() as u32).to_le_bytes());
    tail.extend(ELSEWHERE.to_le_bytes());
    tail.extend(0u16.to_le_bytes());
    file.write_all(&tail)
}
