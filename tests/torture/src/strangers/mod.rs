//! Strangers: roles without grants that try to read names which are not theirs, in every way there is, and to
//! take the whole lock table. Those who may read the names do.

mod looks;
mod loops;
mod spy;

use crate::aftermath::nobody_is_left;
use crate::report::Report;
use crate::server::Server;
use anyhow::Result;

/// A record that can be filled, and lines about long waits, which a client can ask for.
pub const SETTINGS: &str = "advisory_keys.max_names = 100\nlog_lock_waits = on";

/// The roles; the functions of a stranger: one that shows what it is given, and one that looks with its owner's eyes. And
/// one of the owner's that locks for whoever calls it.
const SCHEMA: &str = "
    CREATE ROLE owner LOGIN;
    CREATE ROLE member LOGIN IN ROLE owner;
    CREATE ROLE late_member LOGIN NOINHERIT IN ROLE owner;
    CREATE ROLE reader LOGIN IN ROLE pg_read_all_stats;
    CREATE ROLE knower LOGIN;
    CREATE ROLE other LOGIN;
    CREATE ROLE stranger LOGIN IN ROLE other;
    CREATE FUNCTION tells(name text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
      BEGIN RAISE NOTICE 'it is %', name; RETURN true; END $$;
    CREATE FUNCTION looks_for_others(key bigint) RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS $$
      SELECT l::text FROM advisory_locks AS l UNION ALL SELECT advisory_key_name(key) $$;
    ALTER FUNCTION tells OWNER TO other;
    ALTER FUNCTION looks_for_others OWNER TO other;
    CREATE FUNCTION locks_for_others(number int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
      BEGIN PERFORM lock_keys(ARRAY[reverse('TNEITAP'), number::text], session => true); END $$;
    ALTER FUNCTION locks_for_others OWNER TO owner;";

async fn prepare(server: &Server) -> Result<()> {
    server.create_extension().await?;
    let (admin, _) = server.connect_patiently().await?;
    Ok(admin.batch_execute(SCHEMA).await?)
}

pub async fn look_and_loop(server: &Server, report: &Report) -> Result<()> {
    prepare(server).await?;
    looks::at_names(server, report).await?;
    loops::over_rows(server, report).await?;
    nobody_is_left(server, report).await
}
