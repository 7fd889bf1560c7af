//! Stub.
use crate::exec::Lower;
use crate::ptx::PtxError;

pub mod exact;
pub mod rounding;
/// Stub.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    l.unsupported()
}
