//! The `godwit` command.

use clap::Parser;
use gateway::config::{Cli, Command, LogFormat};
use gateway::{doctor, serve};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(config) => {
            log("info", config.log_format);
            match serve::run(*config).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => failed(&reason, 1),
            }
        }
        Command::Doctor(config) => {
            log("error", LogFormat::Text);
            match doctor::run(*config).await {
                Ok(code) => ExitCode::from(code),
                Err(reason) => failed(&reason, doctor::FAILED),
            }
        }
    }
}

fn failed(reason: &str, code: u8) -> ExitCode {
    eprintln!("godwit: {reason}");
    ExitCode::from(code)
}

fn log(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_env("GODWIT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
