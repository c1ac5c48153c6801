//! `advisory_keys`: lock by name in Postgres.
//!
//! Data flows one way: SQL arguments ([`sql`]) become keys ([`keys`]), keys become locks, and what
//! cannot be had at once is waited for ([`locks`]). Beside that way, names are recorded and outcomes counted ([`shared`])
//! for those who look at the locks.

mod backend;
mod error;
mod keys;
mod locks;
mod report;
mod settings;
mod shared;
mod sql;
mod warning;

#[cfg(any(test, feature = "pg_test"))]
mod server_tests;

#[cfg(not(panic = "unwind"))]
compile_error!("errors of Postgres are carried through Rust by unwinding");

pgrx::pg_module_magic!();

pgrx::extension_sql_file!("../sql/prologue.sql", name = "prologue", bootstrap);
pgrx::extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = [
        sql::lock_status::advisory_lock_entries,
        sql::stats::advisory_lock_counts,
        sql::stats::advisory_lock_stats_reset
    ]
);
pgrx::extension_sql_file!("../sql/comments.sql", name = "comments", finalize);

/// Called by Postgres when it loads the library.
#[pgrx::pg_guard]
#[allow(unsafe_code)]
pub extern "C-unwind" fn _PG_init() {
    let preloading = shared::memory::preloading();
    settings::define(preloading);
    if preloading {
        shared::memory::reserve();
    }
}

/// What `cargo pgrx test` asks for.
#[cfg(test)]
pub mod pg_test {
    /// Called once before the tests.
    pub fn setup(_options: Vec<&str>) {}

    /// Lines of `postgresql.conf` for the server that the tests run in.
    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
