//! What the clients of one run on leases share.

use crate::leases::history::History;
use crate::report::Report;
use crate::server::{Server, config};
use anyhow::Result;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::task::AbortHandle;
use tokio_postgres::{Client, NoTls};

/// Names that all clients want.
pub const HOT: usize = 10;

/// So many milliseconds they are leased for.
pub const TTL_MS: std::ops::Range<i64> = 30..200;

/// Roles that lease beside the superuser that everybody connects as.
pub const ROLES: usize = 2;

pub fn role(number: usize) -> String {
    format!("lessee_{number}")
}

pub struct World {
    pub report: Arc<Report>,
    pub history: History,
    /// Does what was acknowledged last? Else only tokens are judged.
    pub is_durable: bool,
    /// Do clients also take leases that they keep?
    pub keeps: bool,
    /// What clients set synchronous_commit to, on which nothing that is said of leases depends.
    pub commits: &'static [&'static str],
    /// Where the server's socket is.
    place: Mutex<PathBuf>,
    /// Leases that are kept, which nobody releases: names and tokens.
    kept: Mutex<BTreeMap<String, i64>>,
    /// Processes that somebody has stopped.
    pub stopped: Mutex<HashSet<i32>>,
    over: AtomicBool,
}

impl World {
    pub fn new(server: &Server, report: &Arc<Report>, is_durable: bool, keeps: bool) -> Self {
        Self {
            report: report.clone(),
            history: History::default(),
            is_durable,
            keeps,
            commits: &["off", "local", "remote_write", "on"],
            place: Mutex::new(server.folder.clone()),
            kept: Mutex::default(),
            stopped: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    pub fn place(&self) -> PathBuf {
        self.place.lock().expect("no task panics in here").clone()
    }

    /// From now on clients find the server there.
    pub fn move_to(&self, folder: &Path) {
        *self.place.lock().expect("no task panics in here") = folder.into();
    }

    pub fn keep(&self, name: String, token: i64) {
        self.kept.lock().expect("no task panics in here").insert(name, token);
    }

    pub fn kept(&self) -> BTreeMap<String, i64> {
        self.kept.lock().expect("no task panics in here").clone()
    }

    /// Nobody believes in this one any longer.
    pub fn forget(&self, name: &str) {
        self.kept.lock().expect("no task panics in here").remove(name);
    }

    pub fn end(&self) {
        self.over.store(true, Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed) || self.report.enough()
    }
}

/// How a client reaches the server.
#[derive(Clone)]
pub enum Way {
    Direct,
    /// Through the pgbouncer in this folder.
    Pooled(PathBuf),
}

impl Way {
    /// A connection, and the task without which it hangs up.
    pub async fn connect(&self, world: &World) -> Result<(Client, AbortHandle)> {
        let (folder, port) = match self {
            Self::Direct => (world.place(), 5432),
            Self::Pooled(folder) => (folder.clone(), crate::pooler::PORT),
        };
        let (client, connection) = config(&folder, port, "postgres").connect(NoTls).await?;
        Ok((client, tokio::spawn(connection).abort_handle()))
    }
}
