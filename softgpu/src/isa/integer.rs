//! Stub.
use crate::exec::Lower;
use crate::ptx::PtxError;
/// Stub.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> { l.unsupported() }
