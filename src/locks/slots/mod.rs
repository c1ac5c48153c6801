//! Slots: at most so many holders of a name.
//!
//! A holder of a slot is an ordinary shared holder of the name's key, nothing else; whoever takes a slot counts the
//! shared holders. So nothing has to be kept in shared memory beside the lock table, and nothing is left behind
//! by whoever dies.
//!
//! - [`take`]: a look for a free slot; the queue, whose head is the one waiter that looks.
//! - [`wake`]: whoever lets go of a slot wakes the head.
//! - [`search`]: deadlocks, which Postgres cannot see here: it knows those who wait for *all* of some others, and who
//!   waits for a slot waits for *enough* of them. [`waits`] reads the lock table for it, [`deadlock`] decides.

mod deadlock;
mod held;
mod search;
pub mod take;
mod waits;
pub mod wake;

pub use waits::Waits;
