//! In charge of showing tests/parsers what reads outside input here. Not for anybody else.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use clap::Parser;
use jsonwebtoken::{EncodingKey, Header};
use revision::Record;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use crate::auth::Auth;
use crate::bundle;
use crate::changes;
use crate::config::{Cli, Command, Serve};
use crate::couch;
use crate::{deep, filter, page, precondition, remote};

/// `where`, as it goes to the extension.
pub fn filter(text: &str) -> Option<String> {
    filter::parse(text).ok().and_then(|comparisons| serde_json::to_string(&comparisons).ok())
}

/// A body of records.
pub fn records(bytes: &[u8]) -> Option<Vec<Record>> {
    deep::parse(bytes).ok()
}

/// The query of `/v1/changes`.
pub fn changes(query: &str) -> bool {
    let uri = Uri::builder().path_and_query(format!("/v1/changes?{query}")).build();
    uri.is_ok_and(|uri| Query::<changes::Request>::try_from_uri(&uri).is_ok())
}

/// `after`, and what is written of it again.
pub fn page(text: &str) -> Option<String> {
    let place: (String, String, String) = page::read(Some(text)).ok()??;
    page::write(&place).ok()
}

fn headers(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(name, value)]))
}

/// `If-Match`, and the tag as it is sent.
pub fn precondition(value: &[u8]) -> Option<HeaderValue> {
    let found = precondition::if_match(&headers(header::IF_MATCH, value)?).ok()??;
    match found {
        precondition::Tag::Any => Some(HeaderValue::from_static("*")),
        precondition::Tag::Revision(revision) => precondition::etag(&revision.to_string()),
    }
}

const SECRET: &str = "a secret of more than thirty-two bytes";

fn serve(header: &str) -> Box<Serve> {
    let line =
        ["godwit", "serve", "--database-url", "x", "--trusted-proxies", "10.0.0.0/8,fd00::/8"];
    let secret = ["--jwt-secret", SECRET, "--forwarded-header", header];
    match Cli::try_parse_from(line.into_iter().chain(secret)) {
        Ok(Cli { command: Command::Serve(serve) }) => serve,
        _ => std::process::exit(3),
    }
}

static BY_X: LazyLock<Box<Serve>> = LazyLock::new(|| serve("x-forwarded-for"));
static BY_RFC: LazyLock<Box<Serve>> = LazyLock::new(|| serve("forwarded"));
static AUTH: LazyLock<Option<Auth>> = LazyLock::new(|| Auth::new(&BY_X.auth).ok());

/// Where a request comes from that a proxy or anybody else has passed on.
pub fn forwarded(peer: IpAddr, is_rfc: bool, value: &[u8]) -> Option<IpAddr> {
    let (serve, name) = match is_rfc {
        true => (&BY_RFC, "forwarded"),
        false => (&BY_X, "x-forwarded-for"),
    };
    Some(remote::address(&serve.limits, peer, &headers(HeaderName::from_static(name), value)?))
}

/// Whether anybody is let in.
pub fn token(value: &[u8]) -> bool {
    let headers = headers(header::AUTHORIZATION, value);
    headers.is_some_and(|headers| AUTH.as_ref().is_some_and(|auth| auth.caller(&headers).is_ok()))
}

/// What the defaults allow clocks to differ by, in seconds.
pub const LEEWAY: f64 = 30.0;

pub fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// Whether claims that the secret has signed let anybody in.
pub fn claims(claims: &serde_json::Value) -> bool {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signed = jsonwebtoken::encode(&Header::default(), claims, &key);
    signed.is_ok_and(|signed| token(format!("Bearer {signed}").as_bytes()))
}

/// How many records a file has that is read to its seal.
pub fn export(path: &Path, bytes: &[u8]) -> Result<usize, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.as_mut().map_err(|error| error.to_string())?;
    file.write_all(bytes).map_err(told)?;
    bundle::count(path, file.try_clone().map_err(told)?)
}

/// A document of CouchDB's as it is stored, and as it comes back; with columns of every kind and with none.
pub fn document(text: &str) -> Option<[serde_json::Value; 2]> {
    let raw = RawValue::from_string(text.to_owned()).ok()?;
    let none = couch::round(&raw, &Default::default())?;
    Some([couch::round(&raw, &couch::of_every_kind())?, none])
}

/// Whether a selector matches a document.
pub fn selector(text: &str, document: &serde_json::Value) -> Option<bool> {
    let raw = RawValue::from_string(text.to_owned()).ok()?;
    couch::Selector::parse(&raw).ok().map(|selector| selector.matches(document))
}

/// As an export is compressed.
pub fn compressed(lines: &[u8]) -> Vec<u8> {
    zstd::encode_all(lines, 1).unwrap_or_default()
}
