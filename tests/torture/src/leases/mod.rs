//! Leases: the add-on advisory_leases, by clients whose leases are judged by what each of them knew and when.

mod calls;
mod client;
mod clock;
pub mod failovers;
mod fences;
mod history;
mod lease;
mod nemesis;
mod overlaps;
pub mod stalls;
pub mod starts;
mod stopped;
pub mod storm;
mod tokens;
mod turn;
mod verdict;
mod world;

use crate::server::Server;
use anyhow::Result;
use world::{ROLES, role};

/// The add-on, the roles, and a table for what is fenced.
pub async fn prepare(server: &Server) -> Result<()> {
    server.create_leases().await?;
    let (client, _) = server.connect_patiently().await?;
    for number in 0..ROLES {
        client.batch_execute(&format!("CREATE ROLE {}", role(number))).await?;
    }
    client
        .batch_execute(
            "CREATE TABLE fenced (name text, token bigint); GRANT INSERT ON fenced TO PUBLIC",
        )
        .await?;
    Ok(())
}
