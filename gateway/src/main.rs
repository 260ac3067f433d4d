//! The `godwit` command.

use clap::Parser;
use gateway::config::{Cli, Command, LogFormat};
use gateway::serve;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command: Command::Serve(config) } = Cli::parse();
    let filter = EnvFilter::try_from_env("GODWIT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match serve::run(*config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("godwit: {reason}");
            ExitCode::FAILURE
        }
    }
}
