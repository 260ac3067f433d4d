//! In charge of gateways of a test's own, with options of its own.

use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::gateway::Gateway;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What a loaded machine takes to start a process.
const START: Duration = Duration::from_secs(30);

/// Killed when it is dropped.
pub struct Process {
    child: Child,
    pub gateway: Gateway,
    /// Host and port.
    pub address: String,
    log: std::path::PathBuf,
}

/// `godwit` with these arguments against the tests' database, with none of the options that happen to be set.
pub fn command(arguments: &[&str]) -> Result<Command, Fault> {
    let named = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let mut command = Command::new(named("GODWIT_BIN")?);
    let ours = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("GODWIT_"));
    for name in ours {
        command.env_remove(name);
    }
    command.env("DATABASE_URL", named("GODWIT_DATABASE_URL")?).args(arguments);
    Ok(command)
}

pub fn free_address() -> Result<String, Fault> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Process {
    /// Returns when it listens.
    pub async fn start(options: &[&str]) -> Result<Self, Fault> {
        Self::start_with(options, &[]).await
    }

    pub async fn start_with(options: &[&str], env: &[(&str, &str)]) -> Result<Self, Fault> {
        let address = free_address()?;
        let log = std::env::temp_dir().join(format!("godwit-{}.log", uuid::Uuid::new_v4()));
        let mut command = command(&["serve", "--listen", &address])?;
        command.args(options).envs(env.iter().copied());
        let child = command.stderr(std::fs::File::create(&log)?).stdout(Stdio::null()).spawn()?;
        let gateway = Gateway::new(format!("http://{address}"));
        let mut process = Process { child, gateway, address, log };
        let end = Instant::now() + START;
        // By its log: a connection would be counted.
        while !process.log()?.contains("scheme") {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("the gateway ended: {status}: {}", process.log()?).into());
            }
            if Instant::now() > end {
                return Err(format!("the gateway does not listen: {}", process.log()?).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(process)
    }

    pub fn log(&self) -> Result<String, Fault> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// By SIGKILL: it can say nothing more.
    pub fn kill(&mut self) -> Result<(), Fault> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn terminate(&self) -> Result<(), Fault> {
        let status = Command::new("kill").args(["-TERM", &self.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err("the gateway is gone already".into()) }
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> Result<ExitStatus, Fault> {
        let end = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err("the gateway does not end".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, and its log be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}
