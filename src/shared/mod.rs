//! What all sessions share, for those who look at the locks. Nothing here decides who gets one.
//!
//! # The layout
//!
//! One piece of memory ([`layout`]), wherever it is ([`memory`]): a header, the sets of the record of names
//! ([`name_record`]), those of the statistics ([`statistics`]), and since when each backend holds its locks ([`holds`]). It
//! begins as zeros, which everywhere stand for nothing, with the sizes in the header. The layout has a number, which is part
//! of the name of the segment.
//!
//! # The protocols
//!
//! Nothing can fail here, and nobody waits for more than a moment: who does not get to write in time leaves. All fields
//! are atomics, and there are two ways to write them:
//!
//! - **Together.** What belongs to one another has a [`version::Version`]: odd while a backend writes.
//!   - Writing: make the version odd by compare-and-swap, write, make it the next even number. Who loses the race
//!     leaves, and what it had to say is not written this time. What only one backend ever writes needs no race.
//!   - Reading: read the version, the fields, and the version again. If it was odd or has changed, what was read is
//!     thrown away.
//!   - A backend that is stopped while it writes keeps its fields odd, which others then pass over. If it is killed
//!     there, Postgres restarts all backends with shared memory made anew; whatever else ends a backend waits until it
//!     looks for interrupts, which nobody does here.
//! - **By itself.** A counter is only ever added to, so at each moment it is right, whoever is stopped or killed.
//!
//! Names and the rows of the statistics are in sets of slots; the key, or the first part, says which set. So what
//! one backend does in a set concerns only those who fall into it too.

pub mod holds;
pub mod layout;
pub mod memory;
pub mod name_record;
pub mod statistics;
pub mod text;
pub mod version;
