//! What SQL sees: a function's arguments, what it does with them, and what it answers.
//!
//! The names of these functions are part of the installed SQL (`<name>_wrapper` symbols): none may
//! be renamed or removed once released.

mod arguments;
mod call;
mod claim;
mod int_array;
mod key;
mod lock;
pub mod lock_status;
mod look;
mod server_text;
mod short_lock;
mod slot;
pub mod stats;
pub mod text_array_arg;
mod unlock;
