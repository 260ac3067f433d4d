//! In charge of the client that an option's URL and token make.

use std::path::PathBuf;

use crate::client::{Client, Limits, TokenError};

/// With pauses that grow to half a minute this is about a minute: what a gateway or a database takes to
/// come back from a restart.
const ATTEMPTS_MAX: u32 = 10;

/// A gateway's URL, as an option's value.
pub fn url(text: &str) -> Result<String, String> {
    Client::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A token file is read for each request, so that another program may renew it.
pub fn client(
    url: &str,
    token: Option<&String>,
    token_file: Option<&PathBuf>,
) -> Result<Client, String> {
    let limits = Limits { attempts_max: ATTEMPTS_MAX, ..Limits::default() };
    let mut builder = Client::builder(url).limits(limits);
    if let Some(token) = token {
        builder = builder.token(token);
    } else if let Some(path) = token_file.cloned() {
        builder = builder.token_source(move || {
            let path = path.clone();
            Box::pin(async move {
                let told = |error| TokenError::from(format!("{}: {error}", path.display()));
                std::fs::read_to_string(&path).map_err(told)
            })
        });
    }
    builder.build().map_err(|error| error.to_string())
}
