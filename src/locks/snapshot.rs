//! The snapshot of a statement that waits.
//!
//! A statement that waits with a snapshot keeps VACUUM from everything that died since, and `CREATE INDEX
//! CONCURRENTLY` waits for it. A procedure may do without: what runs it counts on a snapshot that may be gone after
//! each statement, since a procedure may have committed, and takes the next one by `EnsurePortalSnapshotExists()`
//! (`src/backend/tcop/pquery.c`, where `PortalRunUtility()` sets the first one).
#![allow(unsafe_code)]

use crate::backend;
use pgrx::pg_sys;
use pgrx::pg_sys::CommandTag;

/// What becomes of a statement's snapshot when it has to wait.
pub trait Snapshot {
    /// Called directly before each wait, after all that looks into the catalog.
    fn before_wait(&mut self);

    /// Called when nothing is waited for any more. May raise.
    fn after_waits(&mut self);
}

/// It is kept, as all but a procedure have to.
pub struct Kept;

impl Snapshot for Kept {
    #[inline]
    fn before_wait(&mut self) {}

    #[inline]
    fn after_waits(&mut self) {}
}

/// It is let go before the first wait, if that is possible, and taken anew after the last one. An error that comes out
/// of a wait leaves without one, as an error right after COMMIT in a procedure does: nothing up to the client's
/// statement catches it, for whoever could has begun a subtransaction, and where there is one it is kept.
pub enum LetGo {
    /// So far nothing was waited for.
    Untried,
    /// Somebody needs it.
    Kept,
    /// There is none.
    Gone,
}

impl Snapshot for LetGo {
    fn before_wait(&mut self) {
        if matches!(self, LetGo::Untried) {
            *self = if let_go() { LetGo::Gone } else { LetGo::Kept };
        }
        if matches!(self, LetGo::Gone) {
            // What looked into the catalog since has left a snapshot of its own.
            // SAFETY: drops that snapshot, if there is one; it is taken again when it is needed.
            unsafe { pg_sys::InvalidateCatalogSnapshot() }
        }
    }

    #[inline]
    fn after_waits(&mut self) {
        if matches!(self, LetGo::Gone) {
            // SAFETY: `let_go` has left the active portal as COMMIT in a procedure leaves it, for which this is made.
            unsafe { pg_sys::EnsurePortalSnapshotExists() }
        }
    }
}

/// Lets go of the active snapshot if it is the one that the portal of a CALL or DO has set for its statement, and
/// the only one. Then all that runs between the portal and this call are procedures and blocks that may commit:
/// everything else pushes a snapshot of its own, which is on top, or keeps that of a statement around, which is below.
/// Is it gone? The caller is a procedure.
fn let_go() -> bool {
    // SAFETY: the active portal, if there is one, is that of the statement that runs (src/include/utils/portal.h). Its
    // snapshot is on the stack of active ones, so it is a copy there, which stays as long as it is registered. It is
    // back on the stack, at the level that it had, unless nobody but the portal refers to it, which then knows that it
    // has none.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if backend::reads_with_one_snapshot() || pg_sys::IsInParallelMode() || portal.is_null() {
            return false;
        }
        let snapshot = (*portal).portalSnapshot;
        if !matches!((*portal).commandTag, CommandTag::CMDTAG_CALL | CommandTag::CMDTAG_DO)
            || snapshot.is_null()
            // In a block with EXCEPTION, of which older releases of Postgres set no snapshot of their own.
            || pg_sys::GetCurrentTransactionNestLevel() != (*portal).createLevel
            || !pg_sys::ActiveSnapshotSet()
            || pg_sys::GetActiveSnapshot() != snapshot
        {
            return false;
        }
        pg_sys::RegisterSnapshot(snapshot);
        pg_sys::PopActiveSnapshot();
        let alone = !pg_sys::ActiveSnapshotSet();
        if alone {
            (*portal).portalSnapshot = std::ptr::null_mut();
        } else {
            pg_sys::PushActiveSnapshotWithLevel(snapshot, (*portal).createLevel);
        }
        pg_sys::UnregisterSnapshot(snapshot);
        alone
    }
}
