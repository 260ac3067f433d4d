//! The `godwit` command.

use clap::Parser;
use gateway::config::{Cli, Command, LogFormat};
use gateway::peering::Ending;
use gateway::{bundle, doctor, replicate, serve};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// All was done that could be, and the target refused some of it.
const REFUSED: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    // On a worker: what the main thread takes itself it hands to another thread, each connection for one.
    match tokio::spawn(run(Cli::parse().command)).await {
        Ok(code) => code,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn run(command: Command) -> ExitCode {
    let ended = match command {
        Command::Serve(config) => {
            log("info", config.log_format);
            serve::run(*config).await.map(|()| Ending::Done)
        }
        Command::Doctor(config) => {
            log("error", LogFormat::Text);
            return match doctor::run(*config).await {
                Ok(code) => ExitCode::from(code),
                Err(reason) => failed(&reason, doctor::FAILED),
            };
        }
        Command::Replicate(options) => {
            log("warn", LogFormat::Text);
            replicate::run(*options).await
        }
        Command::Export(options) => {
            log("warn", LogFormat::Text);
            bundle::export(*options).await.map(|()| Ending::Done)
        }
        Command::Import(options) => {
            log("warn", LogFormat::Text);
            bundle::import(*options).await
        }
    };
    match ended {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Refused) => ExitCode::from(REFUSED),
        Err(reason) => failed(&reason, 1),
    }
}

fn failed(reason: &str, code: u8) -> ExitCode {
    eprintln!("godwit: {reason}");
    ExitCode::from(code)
}

fn log(usual: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_env("GODWIT_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
