//! The Postgres server under torture: started, restarted, killed and started again from here.

use crate::process::{children_of, state_of};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Config, NoTls};

/// What is tortured.
#[derive(Clone)]
pub enum Edition {
    /// The extension, with this library; its SQL is what is installed.
    Native(PathBuf),
    /// This file.
    Portable(PathBuf),
}

/// A server in a folder of its own, on a Unix socket there.
pub struct Server {
    bindir: PathBuf,
    pub folder: PathBuf,
    edition: Edition,
    /// The file of the add-on; if not given, the add-on is what is installed.
    leases: Option<PathBuf>,
}

/// Settings under which there is something to torture: many clients, quick deadlock checks, a lock
/// table that can be filled.
const SETTINGS: &str = "
listen_addresses = ''
unix_socket_permissions = 0700
fsync = off
max_connections = 80
max_prepared_transactions = 40
deadlock_timeout = 50ms
restart_after_crash = on
";

impl Server {
    /// Makes a new server in the folder, which must be empty, and starts it.
    pub fn create(
        bindir: &Path,
        folder: &Path,
        edition: Edition,
        leases: Option<&Path>,
    ) -> Result<Self> {
        let leases = leases.map(Path::to_path_buf);
        let server = Self { bindir: bindir.into(), folder: folder.into(), edition, leases };
        server.begin("")?;
        Ok(server)
    }

    /// The same in another folder, inside this one's, where there is nothing yet.
    fn in_folder(&self, folder: &str) -> Self {
        let server = Self {
            bindir: self.bindir.clone(),
            folder: self.folder.join(folder),
            edition: self.edition.clone(),
            leases: self.leases.clone(),
        };
        let _ = std::fs::remove_dir_all(&server.folder);
        server
    }

    /// Another server, in a folder inside this one's.
    pub fn another(&self, folder: &str, settings: &str) -> Result<Self> {
        let server = self.in_folder(folder);
        server.begin(settings)?;
        Ok(server)
    }

    /// Another server, in a folder inside this one's, whose processes all have the library from the start.
    pub fn preloading(&self, folder: &str, settings: &str) -> Result<Self> {
        self.another(folder, &format!("shared_preload_libraries = 'advisory_keys'\n{settings}"))
    }

    fn begin(&self, settings: &str) -> Result<()> {
        self.run(
            "initdb",
            &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        )?;
        let libraries = format!("dynamic_library_path = '{}:$libdir'", self.folder.display());
        self.configure(&format!("{SETTINGS}{libraries}\n{settings}\n"))?;
        if self.is_native() {
            self.replace_library()?;
        }
        self.start()
    }

    pub fn is_native(&self) -> bool {
        matches!(self.edition, Edition::Native(_))
    }

    /// A standby of this server, in a folder inside its own.
    pub fn standby(&self) -> Result<Self> {
        self.standby_of(self, "standby")
    }

    /// A standby of another server, in a folder inside this one's.
    pub fn standby_of(&self, primary: &Self, folder: &str) -> Result<Self> {
        let standby = self.in_folder(folder);
        let host = primary.folder.display().to_string();
        standby.run(
            "pg_basebackup",
            &["-R", "-c", "fast", "-X", "stream", "--no-sync", "-U", "postgres", "-h", &host],
        )?;
        standby.configure("")?;
        standby.start()?;
        Ok(standby)
    }

    fn configure(&self, settings: &str) -> Result<()> {
        let conf = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&conf)? + settings;
        Ok(std::fs::write(
            &conf,
            text + &format!("unix_socket_directories = '{}'\n", self.folder.display()),
        )?)
    }

    /// Makes the functions. Those of the extension are found in a copy of the library in the server's folder, so
    /// that it can be replaced there, and so that what is tortured need not be what is installed.
    pub async fn create_extension(&self) -> Result<()> {
        let (client, pid) = self.connect_patiently().await?;
        if let Edition::Portable(file) = &self.edition {
            return Ok(client.batch_execute(&std::fs::read_to_string(file)?).await?);
        }
        client.batch_execute("CREATE EXTENSION advisory_keys").await?;
        self.loaded_library(pid).map(drop)
    }

    /// Makes the add-on, as an extension or from its file.
    pub async fn create_leases(&self) -> Result<()> {
        let (client, _) = self.connect_patiently().await?;
        match &self.leases {
            None => Ok(client.batch_execute("CREATE EXTENSION advisory_leases").await?),
            Some(file) => {
                // The user that psql runs as need not be able to open it.
                let opened = std::fs::File::open(file).context("no file of the add-on")?;
                let host = self.folder.display().to_string();
                let status = self
                    .command("psql")
                    .args(["-Xq1", "-v", "ON_ERROR_STOP=1", "-h", &host, "-U", "postgres"])
                    .args(["-f", "-", "postgres"])
                    .stdin(opened)
                    .status()?;
                ensure!(status.success(), "psql -f {}: {status}", file.display());
                Ok(())
            }
        }
    }

    /// The inode of the copy of the library that a process has loaded.
    pub fn loaded_library(&self, pid: i32) -> Result<String> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let path = self.copy_of_library().display().to_string();
        // "addresses permissions offset device inode path", and " (deleted)" once it was replaced
        let line = maps.lines().find(|line| line.contains(&path)).context("not loaded")?;
        Ok(line.split_whitespace().nth(4).context("no inode")?.to_string())
    }

    /// Puts a new copy of the library in place of the one there, as packages do on an upgrade.
    pub fn replace_library(&self) -> Result<()> {
        let new = self.folder.join("new.so");
        let Edition::Native(library) = &self.edition else { bail!("there is no library") };
        std::fs::copy(library, &new).context("no library")?;
        Ok(std::fs::rename(new, self.copy_of_library())?)
    }

    fn copy_of_library(&self) -> PathBuf {
        self.folder.join("advisory_keys.so")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// One of Postgres' programs, or another, as a user that they agree to run as.
    pub fn command(&self, program: &str) -> Command {
        let path = self.bindir.join(program);
        let path = if path.exists() { path } else { program.into() };
        let mut command = if Uid::effective().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs one of Postgres' programs on the data directory.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let status = self
            .command(program)
            .arg("-D")
            .arg(self.data())
            .args(arguments)
            .status()
            .context("no such program")?;
        if !status.success() {
            bail!("{program} {arguments:?}: {status}");
        }
        Ok(())
    }

    pub fn start(&self) -> Result<()> {
        let log = self.folder.join("server.log");
        self.run("pg_ctl", &["-w", "-s", "-l", &log.display().to_string(), "start"])
    }

    pub fn restart(&self, mode: &str) -> Result<()> {
        let log = self.folder.join("server.log");
        self.run("pg_ctl", &["-w", "-s", "-m", mode, "-l", &log.display().to_string(), "restart"])
    }

    pub fn stop(&self) -> Result<()> {
        self.run("pg_ctl", &["-w", "-s", "-m", "immediate", "stop"])
    }

    /// Kills the postmaster with SIGKILL and starts the server anew, once its backends are gone.
    pub async fn kill_postmaster(&self) -> Result<()> {
        kill(Pid::from_raw(self.postmaster()?), Signal::SIGKILL)?;
        let end = Instant::now() + PATIENCE;
        // The backends notice, and hold on to shared memory until they do.
        while self.start().is_err() {
            if Instant::now() > end {
                bail!("the server does not start after its postmaster was killed");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Kills all of its processes with SIGKILL, as when the machine fails, and returns when they are gone.
    pub async fn kill_all(&self) -> Result<()> {
        let postmaster = self.postmaster()?;
        // First those who would make new ones, and then what it has made.
        kill(Pid::from_raw(postmaster), Signal::SIGSTOP)?;
        let children = children_of(postmaster as u32)?;
        for &process in [postmaster].iter().chain(&children) {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        let end = Instant::now() + PATIENCE;
        while children.iter().any(|&child| !matches!(state_of(child), None | Some('Z'))) {
            ensure!(Instant::now() < end, "a process of the server does not die");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn postmaster(&self) -> Result<i32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        Ok(file.lines().next().context("an empty postmaster.pid")?.parse()?)
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) -> Result<()> {
        self.run("pg_ctl", &["-w", "-s", "promote"])
    }

    /// The version that it tells its clients.
    pub async fn version(&self) -> Result<String> {
        let (client, _) = self.connect_patiently().await?;
        Ok(client.query_one("SHOW server_version", &[]).await?.get(0))
    }

    /// A connection, and the process behind it.
    async fn connect(&self) -> Result<(Client, i32)> {
        let client = dial(&self.folder, 5432).await?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        Ok((client, pid))
    }

    /// The same, however long the server takes to come back.
    pub async fn connect_patiently(&self) -> Result<(Client, i32)> {
        patiently(|| self.connect()).await
    }
}

/// A connection through the socket in the folder.
pub async fn dial(folder: &Path, port: u16) -> Result<Client> {
    let (client, connection) = config(folder, port, "postgres").connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// How a role connects.
pub fn config(folder: &Path, port: u16, role: &str) -> Config {
    let mut config = Config::new();
    config.host_path(folder).port(port).user(role).dbname("postgres");
    config
}

/// Tries again until it succeeds.
pub async fn patiently<T, F: Future<Output = Result<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            done => return done,
        }
    }
}

/// What an expression of SQL says now.
pub async fn truth(client: &Client, expression: &str) -> Result<bool> {
    Ok(client.query_one(&format!("SELECT {expression}"), &[]).await?.get(0))
}

/// Asks until it is so; false if that does not happen.
pub async fn becomes_true(client: &Client, expression: &str) -> Result<bool> {
    let end = Instant::now() + PATIENCE;
    while !truth(client, expression).await? {
        if Instant::now() > end {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(true)
}

/// Changes the configuration, for all sessions.
pub async fn configure(client: &Client, change: &str) -> Result<()> {
    client.batch_execute(&format!("ALTER SYSTEM {change}")).await?;
    Ok(client.batch_execute("SELECT pg_reload_conf()").await?)
}

/// Returns when the process waits for a lock.
pub async fn await_waiting(client: &Client, pid: i32) -> Result<()> {
    let waits = format!("EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)");
    ensure!(becomes_true(client, &waits).await?, "the waiter does not wait");
    Ok(())
}

/// After this long, what must happen counts as never happening.
pub const PATIENCE: Duration = Duration::from_secs(30);
