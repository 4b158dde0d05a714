//! What every store decides alike: pure, from what its database said. No SQL, and nothing that waits.

pub(crate) mod acts;
pub(crate) mod admission;
pub(crate) mod dues;
pub(crate) mod effect;
pub(crate) mod marks;
pub(crate) mod originals;
pub(crate) mod words;
