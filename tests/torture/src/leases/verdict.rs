//! The records of a run, judged.

use crate::leases::fences::late_writes;
use crate::leases::overlaps::overlaps;
use crate::leases::tokens::{out_of_order, repeated};
use crate::leases::world::World;

/// Judges what has been recorded so far, when all clients are done.
pub fn judge(world: &World) {
    let (report, records) = (&world.report, world.history.take());
    let (grants, writes) = (&records.grants, &records.writes);
    report.count("leases: granted", grants.len() as u64);
    report.count("leases: fenced writes", writes.len() as u64);
    report.expect(grants.len() >= 50 && writes.len() >= 10, "the storm of leases", || {
        format!("{} grants and {} fenced writes prove nothing", grants.len(), writes.len())
    });
    for (first, second) in repeated(grants) {
        report.finding("tokens never repeat", format!("{first:?} and {second:?}"));
    }
    for (first, second) in out_of_order(grants) {
        report.finding("tokens in the order of grants", format!("{first:?}, then {second:?}"));
    }
    if !world.is_durable {
        return;
    }
    for (first, second) in overlaps(grants) {
        report.finding("overlapping leases", format!("{first:?} and {second:?}"));
    }
    for (write, takeover) in late_writes(grants, writes) {
        report.finding("fenced writes", format!("{write:?} after {takeover:?}"));
    }
}
