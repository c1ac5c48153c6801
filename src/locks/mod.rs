//! From keys to locks: what is had at once, what is waited for, what is given back.

pub mod all_or_none;
pub mod claim;
pub mod context;
pub mod held_since;
pub mod lock;
pub mod lock_table;
pub mod outcome;
pub mod session_limit;
pub mod slots;
pub mod snapshot;
pub mod timeout;
pub mod wait;
