//! What all sessions share, for those who look at the locks. Nothing here decides who gets one.

pub mod memory;
pub mod name_record;
