//! The protocols that are read, wherever their bytes come from.

pub(crate) mod http1;
