use crate::report::Report;
use crate::server::Server;
use anyhow::Result;
pub const SETTINGS: &str = "";
pub async fn look_and_loop(_server: &Server, _report: &Report) -> Result<()> { Ok(()) }
