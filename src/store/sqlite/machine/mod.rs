//! The one writer: what it is asked, how it groups and commits, and the statements that all operations share.

pub(crate) mod apply;
pub(crate) mod batch;
pub(crate) mod hot;
pub(crate) mod maintenance;
pub(crate) mod row;
pub(crate) mod transaction;
pub(crate) mod trouble;
pub(crate) mod writer;
