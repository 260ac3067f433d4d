//! In charge of where a page ended: what `next` says and `after` brings back. Clients don't look into it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

pub fn read<T: DeserializeOwned>(after: Option<&str>) -> Result<Option<T>, Error> {
    let fault = |_| Error::bad_request("after is what an answer said as next");
    after.map(serde_json::from_str).transpose().map_err(fault)
}

pub fn write(place: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(place).map_err(|error| {
        tracing::error!(%error, "a page's end can't be written");
        Error::unavailable("the answer can't be written")
    })
}
