//! `advisory_keys`: lock by name in Postgres.
//!
//! Data flows one way: SQL arguments ([`argument`], [`text_array`]) become keys ([`key`],
//! [`keyset`]), keys become locks ([`lock`]), and what cannot be had at once is waited for
//! ([`wait`]). The SQL functions are in [`functions`]. Beside that way, names are recorded
//! ([`name_record`], [`shared_memory`]) for those who look at the locks ([`lock_status`],
//! [`lock_table`]).

mod argument;
mod backend;
mod call;
mod encoding;
mod error;
mod functions;
mod key;
mod keyset;
mod lock;
mod lock_status;
mod lock_table;
mod name;
mod name_record;
mod report;
mod session_limit;
mod settings;
mod shared_memory;
mod short_lock;
mod text_array;
mod timeout;
mod wait;
mod warning;

#[cfg(any(test, feature = "pg_test"))]
mod server_tests;

#[cfg(not(panic = "unwind"))]
compile_error!("errors of Postgres are carried through Rust by unwinding");

pgrx::pg_module_magic!();

pgrx::extension_sql_file!("../sql/prologue.sql", name = "prologue", bootstrap);
pgrx::extension_sql_file!("../sql/views.sql", name = "views", requires = [advisory_lock_status]);
pgrx::extension_sql_file!("../sql/comments.sql", name = "comments", finalize);

/// Called by Postgres when it loads the library.
#[pgrx::pg_guard]
#[allow(unsafe_code)]
pub extern "C-unwind" fn _PG_init() {
    let preloading = shared_memory::preloading();
    settings::define(preloading);
    if preloading {
        shared_memory::reserve();
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
