//! Finding PTX in what a program gives to load: PTX text, a fatbin, or the wrapper that nvcc puts around one.
//!
//! The layout was read off files that nvcc 12 and 13 write: NVIDIA does not document it.

use std::io::Read;

/// The wrapper: magic, version, and the address of the fatbin.
const WRAPPER: u32 = 0x4662_43b1;
/// The fatbin: magic, version u16, size of this header u16, size of what follows u64.
const FATBIN: u32 = 0xba55_ed50;
/// An ELF file: a cubin alone.
const ELF: u32 = 0x464c_457f;
/// Entries: kind u16, version u16, size of the header u32, size of the data u64, size of the compressed data u32, …
const ENTRY_BYTES: usize = 64;
const KIND_PTX: u16 = 1;
const COMPRESSED_LZ4: u64 = 0x2000;
const COMPRESSED_ZSTD: u64 = 0x8000;

/// The most text that an entry may unpack to.
const MAX_TEXT: u64 = 256 << 20;

/// Why there is nothing to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatbinError {
    /// Neither PTX text nor a fatbin.
    #[error("the image is neither PTX text nor a fatbin")]
    Unknown,
    /// Machine code alone.
    #[error(
        "the image holds machine code but no PTX: compile with `-gencode arch=compute_80,code=compute_80` or `-arch=sm_80`, which embed PTX"
    )]
    NoPtx,
    /// PTX for later GPUs alone.
    #[error("the image holds PTX for sm_{0} and later, which this GPU is not")]
    TooNew(u32),
    /// Cut short, or with sizes that make no sense.
    #[error("the fatbin is damaged: {0}")]
    Damaged(&'static str),
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The bytes of an image whose length nobody says.
///
/// # Safety
/// `image` points to PTX text with a zero at its end, a fatbin, an ELF file, or a wrapper of one.
pub unsafe fn image_bytes<'a>(image: *const u8) -> Result<&'a [u8], FatbinError> {
    // SAFETY: the shortest of these has four bytes; a text is at least as long as a number of its version.
    unsafe {
        let magic = image.cast::<u32>().read_unaligned();
        match magic {
            WRAPPER => {
                let inner = image.add(8).cast::<*const u8>().read_unaligned();
                if inner.is_null() || inner.cast::<u32>().read_unaligned() != FATBIN {
                    return Err(FatbinError::Damaged("the wrapper points nowhere"));
                }
                image_bytes(inner)
            }
            FATBIN => {
                let header = u64::from(image.add(6).cast::<u16>().read_unaligned());
                let body = image.add(8).cast::<u64>().read_unaligned();
                let size = header.checked_add(body).and_then(|size| usize::try_from(size).ok());
                let size = size
                    .filter(|&size| size as u64 <= 4 * MAX_TEXT)
                    .ok_or(FatbinError::Damaged("its size makes no sense"))?;
                Ok(std::slice::from_raw_parts(image, size))
            }
            ELF => Err(FatbinError::NoPtx),
            _ => Ok(std::ffi::CStr::from_ptr(image.cast()).to_bytes()),
        }
    }
}

/// The PTX text in an image for a GPU of compute capability `sm` (80 for 8.0): of several, the one for the latest GPU that it is.
///
/// # Errors
/// When there is none.
pub fn ptx_of(image: &[u8], sm: u32) -> Result<String, FatbinError> {
    match u32_at(image, 0) {
        Some(FATBIN) => {}
        Some(ELF) => return Err(FatbinError::NoPtx),
        _ => {
            let text = image.split(|&byte| byte == 0).next().unwrap_or(&[]);
            let text = std::str::from_utf8(text).map_err(|_| FatbinError::Unknown)?;
            return if text.contains(".version") { Ok(text.to_string()) } else { Err(FatbinError::Unknown) };
        }
    }
    let header = u16_at(image, 6).map(usize::from).filter(|&h| h >= 16).ok_or(FatbinError::Damaged("no header"))?;
    let mut rest = image.get(header..).ok_or(FatbinError::Damaged("nothing follows its header"))?;
    let (mut best, mut too_new): (Option<(u32, &[u8])>, Option<u32>) = (None, None);
    while rest.len() >= ENTRY_BYTES {
        let size = || Some((u32_at(rest, 4)? as usize, usize::try_from(u64_at(rest, 8)?).ok()?));
        let (header, data) = size().ok_or(FatbinError::Damaged("an entry has no size"))?;
        let end = header.checked_add(data).filter(|&end| header >= ENTRY_BYTES && end <= rest.len());
        let end = end.ok_or(FatbinError::Damaged("an entry is longer than the file"))?;
        let target = u32_at(rest, 28).unwrap_or(0);
        if u16_at(rest, 0) == Some(KIND_PTX) {
            if target > sm {
                too_new = Some(too_new.map_or(target, |other| other.min(target)));
            } else if best.is_none_or(|(other, _)| target > other) {
                best = Some((target, &rest[..end]));
            }
        }
        rest = &rest[end..];
    }
    match (best, too_new) {
        (Some((_, entry)), _) => text_of(entry),
        (None, Some(target)) => Err(FatbinError::TooNew(target)),
        (None, None) => Err(FatbinError::NoPtx),
    }
}

/// The text of one entry, unpacked.
fn text_of(entry: &[u8]) -> Result<String, FatbinError> {
    let fields =
        || Some((u32_at(entry, 4)? as usize, u32_at(entry, 16)? as usize, u64_at(entry, 40)?, u64_at(entry, 56)?));
    let (header, packed, flags, unpacked) = fields().ok_or(FatbinError::Damaged("an entry has no header"))?;
    let data = &entry[header..];
    if flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD) == 0 {
        return text(data.to_vec());
    }
    let data = data.get(..packed).ok_or(FatbinError::Damaged("a compressed entry is longer than its data"))?;
    if unpacked > MAX_TEXT {
        return Err(FatbinError::Damaged("a compressed entry would be enormous"));
    }
    let wrong = FatbinError::Damaged("a compressed entry does not unpack");
    if flags & COMPRESSED_LZ4 != 0 {
        // A byte of LZ4 stands for 255 at most: nothing is reserved for a size that cannot be.
        if unpacked > 255 * packed as u64 {
            return Err(wrong);
        }
        return text(lz4_flex::block::decompress(data, unpacked as usize).map_err(|_| wrong)?);
    }
    let mut out = vec![];
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(data).map_err(|_| wrong.clone())?;
    decoder.by_ref().take(MAX_TEXT + 1).read_to_end(&mut out).map_err(|_| wrong)?;
    if out.len() as u64 > MAX_TEXT {
        return Err(FatbinError::Damaged("a compressed entry would be enormous"));
    }
    text(out)
}

fn text(mut bytes: Vec<u8>) -> Result<String, FatbinError> {
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    String::from_utf8(bytes).map_err(|_| FatbinError::Damaged("its PTX is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ".version 8.0\n.target sm_80\n";

    fn entry(target: u32, flags: u64, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY_BYTES];
        bytes[0..2].copy_from_slice(&KIND_PTX.to_le_bytes());
        bytes[4..8].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&(data.len() as u64).to_le_bytes());
        bytes[16..20].copy_from_slice(&(data.len() as u32).to_le_bytes());
        bytes[28..32].copy_from_slice(&target.to_le_bytes());
        bytes[40..48].copy_from_slice(&flags.to_le_bytes());
        bytes[56..64].copy_from_slice(&(TEXT.len() as u64).to_le_bytes());
        [&bytes, data].concat()
    }

    fn fatbin(entries: &[Vec<u8>]) -> Vec<u8> {
        let body = entries.concat();
        let mut bytes = FATBIN.to_le_bytes().to_vec();
        bytes.extend([1, 0, 16, 0]);
        bytes.extend((body.len() as u64).to_le_bytes());
        [bytes, body].concat()
    }

    #[test]
    fn every_packing_is_read() {
        let plain = [TEXT.as_bytes(), &[0]].concat();
        let lz4 = lz4_flex::block::compress(TEXT.as_bytes());
        let zstd = ruzstd::encoding::compress_to_vec(TEXT.as_bytes(), ruzstd::encoding::CompressionLevel::Uncompressed);
        for (flags, data) in [(0, plain), (COMPRESSED_LZ4, lz4), (COMPRESSED_ZSTD, zstd)] {
            assert_eq!(ptx_of(&fatbin(&[entry(80, flags, &data)]), 80).as_deref(), Ok(TEXT), "flags {flags:#x}");
        }
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        let lz4 = lz4_flex::block::compress(TEXT.as_bytes());
        let with = |at: usize, value: u64| {
            let mut entry = entry(80, COMPRESSED_LZ4, &lz4);
            entry[at..at + 8].copy_from_slice(&value.to_le_bytes());
            ptx_of(&fatbin(&[entry]), 80)
        };
        // Its header and its data, the packed size, and the unpacked one.
        let lies =
            [with(8, 1 << 40), with(8, u64::MAX), with(16, u64::MAX >> 1), with(56, 1 << 27), with(56, u64::MAX)];
        assert!(lies.iter().all(|lie| matches!(lie, Err(FatbinError::Damaged(_)))), "{lies:?}");
        let whole = fatbin(&[entry(80, COMPRESSED_LZ4, &lz4)]);
        assert!((0..whole.len()).all(|length| ptx_of(&whole[..length], 80).is_err()));
    }

    #[test]
    fn an_image_without_length_is_read_to_its_end() {
        let image = fatbin(&[entry(80, 0, TEXT.as_bytes())]);
        let mut wrapper = [WRAPPER.to_le_bytes(), 1u32.to_le_bytes()].concat();
        wrapper.extend((image.as_ptr() as u64).to_le_bytes());
        // SAFETY: each is what it says.
        unsafe {
            assert_eq!(image_bytes(image.as_ptr()), Ok(&image[..]));
            assert_eq!(image_bytes(wrapper.as_ptr()), Ok(&image[..]));
            assert_eq!(image_bytes(c".version 8.0".as_ptr().cast()), Ok(&b".version 8.0"[..]));
            assert_eq!(image_bytes(b"\x7fELF".as_ptr()), Err(FatbinError::NoPtx));
        }
    }

    #[test]
    fn the_latest_that_fits_is_taken() {
        let of = |target| entry(target, 0, format!("{TEXT}// {target}").as_bytes());
        let image = fatbin(&[of(75), of(80), of(90)]);
        assert!(ptx_of(&image, 86).is_ok_and(|text| text.ends_with("80")));
        assert!(ptx_of(&image, 90).is_ok_and(|text| text.ends_with("90")));
        assert_eq!(ptx_of(&image, 70), Err(FatbinError::TooNew(75)));
        assert_eq!(ptx_of(&fatbin(&[]), 80), Err(FatbinError::NoPtx));
        assert_eq!(ptx_of(b"hello", 80), Err(FatbinError::Unknown));
    }
}
