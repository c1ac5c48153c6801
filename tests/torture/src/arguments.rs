//! The options of the command line.

use crate::part::Part;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

#[derive(Parser)]
pub struct Arguments {
    /// Where the programs of the Postgres to torture are.
    #[arg(long)]
    pub bindir: PathBuf,
    /// An empty folder for its server, owned by the user that it runs as.
    #[arg(long)]
    pub folder: PathBuf,
    /// The library of the extension to torture; its SQL is taken from the server.
    #[arg(long, required_unless_present = "portable")]
    pub library: Option<PathBuf>,
    /// The file of the portable edition, to torture that.
    #[arg(long, conflicts_with = "library")]
    pub portable: Option<PathBuf>,
    /// The file of the add-on advisory_leases, to torture that instead of the extension that is installed.
    #[arg(long)]
    pub leases: Option<PathBuf>,
    /// How much.
    #[arg(long, value_enum, default_value = "quick")]
    pub size: Length,
    /// Of the long size: minutes after which no new round begins.
    #[arg(long, default_value_t = 60)]
    pub minutes: u64,
    /// Where chance begins; random if not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// End when each of these checks has a finding.
    #[arg(long, value_delimiter = ';', value_parser = |check: &str| anyhow::Ok(check.trim().to_string()))]
    pub until: Vec<String>,
    /// Only these parts of a round; all if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// A file for the counts and findings, as JSON.
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// How much is tortured.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Length {
    /// One round.
    Quick,
    /// Rounds for so many minutes.
    Long,
}
