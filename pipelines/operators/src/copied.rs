//! A state that is copied by one thread and packed by another.

use std::fmt;

use crate::pipeline::WindowsError;

type Pack = dyn FnOnce() -> Result<Vec<u8>, WindowsError> + Send;

/// A copy of a state. Making one is quick, because what is large is shared and not copied;
/// packing it takes its time, which another thread has.
pub struct Copied(Box<Pack>);

impl Copied {
    /// A copy that is packed by `pack`.
    pub fn new(pack: impl FnOnce() -> Result<Vec<u8>, WindowsError> + Send + 'static) -> Self {
        Self(Box::new(pack))
    }

    /// The state as bytes.
    ///
    /// # Errors
    /// A state that cannot be packed.
    pub fn pack(self) -> Result<Vec<u8>, WindowsError> {
        (self.0)()
    }
}

impl fmt::Debug for Copied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Copied")
    }
}
