//! From the text of a name to its key: no lock is taken here.

pub mod encoding;
pub mod key;
pub mod keyset;
pub mod name;
pub mod text_array;
