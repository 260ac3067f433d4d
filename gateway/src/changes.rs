//! In charge of `/v1/changes`: the change stream, by asking and by long poll.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::database::{int8, raw, text, texts};
use crate::error::Error;
use crate::extract::Query;
use crate::records;
use crate::routes::{self, Gateway};

/// Changes in an answer where the request doesn't say.
const PAGE: u32 = 1000;
/// How long a long poll waits where the request doesn't say: below the minute after which proxies
/// commonly give up.
const WAIT_MS: u64 = 30_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    #[serde(default)]
    since: i64,
    tables: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    include: Include,
    #[serde(default)]
    feed: Style,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Include {
    #[default]
    None,
    Records,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Style {
    #[default]
    Normal,
    Longpoll,
}

#[derive(Serialize)]
struct Change {
    sequence: i64,
    table: String,
    id: String,
    revision: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    winner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Answer {
    changes: Vec<Change>,
    next: i64,
}

pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Query(ask): Query<Ask>,
) -> Result<Response, Error> {
    if ask.since < 0 {
        return Err(Error::bad_request("since is a sequence: 0 or what an answer said as next"));
    }
    let answer = match ask.feed {
        Style::Normal => read(&gateway, &caller, &ask).await?,
        Style::Longpoll => wait(&gateway, &caller, &ask).await?,
    };
    Ok(routes::json(StatusCode::OK, &answer))
}

/// Reads again whenever the sequence has moved, until there is something or time is up.
async fn wait(gateway: &Gateway, caller: &Caller, ask: &Ask) -> Result<Answer, Error> {
    let _place = gateway.feed.enter()?;
    let wait = ask.timeout_ms.unwrap_or(WAIT_MS).min(gateway.config.longpoll_timeout_ms_max);
    let end = Instant::now() + Duration::from_millis(wait);
    let mut sequence = gateway.feed.watch();
    loop {
        let answer = read(gateway, caller, ask).await?;
        if !answer.changes.is_empty() {
            return Ok(answer);
        }
        match tokio::time::timeout_at(end, sequence.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(answer),
        }
    }
}

async fn read(gateway: &Gateway, caller: &Caller, ask: &Ask) -> Result<Answer, Error> {
    let limit = records::limit(ask.limit, PAGE, gateway.config.batch_max)?;
    let tables: Option<Vec<&str>> = ask.tables.as_deref().map(|names| names.split(',').collect());
    let include = match ask.include {
        Include::None => "none",
        Include::Records => "records",
    };
    let sql = "select seq, table_name, id, revision, deleted, winner, record::text, next
                 from godwit.changes($1, $2, $3::int8::int4, $4)";
    let parameters = [int8(&ask.since), texts(&tables), int8(&limit), text(&include)];
    let rows = gateway.database.rows(caller, sql, &parameters).await?;
    let next = rows.first().map(|row| row.try_get(7)).transpose()?.unwrap_or(ask.since);
    let changes: Result<Vec<Change>, Error> = rows
        .iter()
        .map(|row| {
            Ok(Change {
                sequence: row.try_get(0)?,
                table: row.try_get(1)?,
                id: row.try_get(2)?,
                revision: row.try_get(3)?,
                deleted: row.try_get(4)?,
                winner: row.try_get(5)?,
                record: row.try_get::<_, Option<String>>(6)?.map(raw).transpose()?,
            })
        })
        .collect();
    Ok(Answer { changes: changes?, next })
}
