//! Trouble that lasts: said once when it begins, and once more when it is over.

use std::mem;

/// Whether it was said. Not for what several are held up by: that is a [`hindrance`](super::hindrance).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaidOnce(bool);

impl SaidOnce {
    /// It is there: whether that is to be said, since it was not yet.
    pub const fn begins(&mut self) -> bool {
        !mem::replace(&mut self.0, true)
    }

    /// It is not there: whether that is to be said, since its beginning was.
    pub const fn ends(&mut self) -> bool {
        mem::replace(&mut self.0, false)
    }
}
