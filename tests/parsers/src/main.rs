//! Coverage-guided fuzzing of what reads outside input: one target a run, which GODWIT_PARSER names; without it
//! the names are printed. A target asserts what must hold of every input; libFuzzer bounds time and memory.

#![no_main]

use gateway::parsers;
use libfuzzer_sys::fuzz_target;
use revision::{Attributes, Record, RevisionId, Value};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("filter", filter),
    ("records", records),
    ("revision", revision),
    ("value", value),
    ("json", json),
    ("canonical", canonical),
    ("decoded", decoded),
    ("changes", changes),
    ("page", page),
    ("precondition", precondition),
    ("forwarded", forwarded),
    ("token", token),
    ("claims", claims),
    ("export", export),
    ("document", document),
    ("selector", selector),
];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let named = std::env::var("GODWIT_PARSER").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == named) {
        Some((_, target)) => *target,
        None => {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            println!("{}", names.join("\n"));
            std::process::exit(0)
        }
    }
});

fuzz_target!(
    init: {
        LazyLock::force(&TARGET);
    },
    |bytes: &[u8]| TARGET(bytes)
);

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// An input in two, at its first line feed.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..at], bytes.get(at + 1..).unwrap_or_default())
}

/// Nothing comes out that isn't in the input, and spaces around it change nothing.
fn filter(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Some(read) = parsers::filter(text) else { return };
    let comparisons: serde_json::Value = serde_json::from_str(&read).expect("JSON");
    for comparison in comparisons.as_array().expect("an array") {
        let column = comparison["column"].as_str().expect("a column");
        assert!(column.len() <= text.len() && column.chars().all(|c| text.contains(c)));
        let values = match &comparison["value"] {
            serde_json::Value::Array(values) => values.clone(),
            serde_json::Value::Null => Vec::new(),
            value => vec![value.clone()],
        };
        for value in values {
            let value = value.as_str().expect("a string");
            assert!(value.len() <= text.len() && value.chars().all(|c| text.contains(c)));
        }
    }
    if text.len() < 16_000 {
        assert_eq!(parsers::filter(&format!(" {text} ")), Some(read));
    }
}

/// What was read reads the same when it is written, however deep.
fn records(bytes: &[u8]) {
    let Some(records) = parsers::records(bytes) else { return };
    for record in &records {
        let written = serde_json::to_vec(&[record]).expect("a record can be written");
        let again = parsers::records(&written);
        assert_eq!(again.as_deref(), Some(std::slice::from_ref(record)));
        if record.check().is_ok() {
            let made =
                RevisionId::of(&record.id, record.previous(), record.deleted, &record.attributes);
            assert_eq!(made.generation(), record.previous().map_or(0, RevisionId::generation) + 1);
        }
    }
}

/// Reads as it is written, and sorts alike as itself and as bytes.
fn revision(bytes: &[u8]) {
    let (one, other) = halves(bytes);
    let parse = |bytes| text(bytes).and_then(|text| RevisionId::parse(text).ok());
    let Some(one_read) = parse(one) else { return };
    assert_eq!(one_read.to_string().as_bytes(), one);
    let sortable = one_read.to_sortable();
    assert_eq!(RevisionId::from_sortable(&sortable).as_ref(), Ok(&one_read));
    if let Some(other) = parse(other) {
        assert_eq!(one_read.cmp(&other), sortable.cmp(&other.to_sortable()));
    }
    // What no revision writes is refused or is one.
    if let Ok(read) = RevisionId::from_sortable(bytes) {
        assert_eq!(read.to_sortable(), bytes);
    }
}

fn value(bytes: &[u8]) {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    if let Ok(value) = Value::from_wire(&json) {
        assert_eq!(Value::from_wire(&value.to_wire()), Ok(value));
    }
}

/// A JSON column's value is written alike from then on. (`1e1` in a column of type json is a decimal, and written
/// as `10`, an integer.)
fn json(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(value) = revision::from_json_text(text) else { return };
    let json = revision::to_json(&value).to_string();
    let again = revision::from_json_text(&json).expect("what we write");
    assert_eq!(revision::to_json(&again).to_string(), json);
}

/// Two bodies share a name only if they are the same.
fn canonical(bytes: &[u8]) {
    let (one, other) = halves(bytes);
    let read = |bytes: &[u8]| -> Option<Attributes> {
        let body = [b"[{\"id\":\"a\",\"attributes\":", bytes, b"}]"].concat();
        let records: Vec<Record> = parsers::records(&body)?;
        let record = records.into_iter().next()?;
        record.check().is_ok().then_some(record.attributes)
    };
    let (Some(one), Some(other)) = (read(one), read(other)) else { return };
    let name = |body: &Attributes| RevisionId::of("a", None, false, body);
    assert_eq!(one == other, name(&one) == name(&other));
}

/// Whatever is read as canonical bytes is what would be written of it, to the byte: no two texts have one hash.
fn decoded(bytes: &[u8]) {
    let Ok(read) = revision::canonical::decode(bytes) else { return };
    let previous = read.previous.as_ref();
    let written = revision::canonical::encode(&read.id, previous, read.deleted, &read.attributes);
    assert_eq!(written, bytes);
}

fn changes(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        parsers::changes(text);
    }
}

fn page(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Some(written) = parsers::page(text) {
        assert_eq!(parsers::page(&written), Some(written));
    }
}

fn precondition(bytes: &[u8]) {
    if let Some(tag) = parsers::precondition(bytes) {
        assert_eq!(parsers::precondition(tag.as_bytes()), Some(tag));
    }
}

/// Whoever is no proxy of ours can't say that it is somebody else.
fn forwarded(bytes: &[u8]) {
    let Some((kind, value)) = bytes.split_first() else { return };
    let is_rfc = kind & 1 == 1;
    let stranger = IpAddr::from([192, 0, 2, 1]);
    let found = parsers::forwarded(stranger, is_rfc, value);
    assert!(found.is_none_or(|address| address == stranger));
    let proxy = IpAddr::from([10, 0, 0, 1]);
    // Of two hops the later counts: what a stranger wrote before it is not believed. A line that is not ASCII
    // says nothing at all.
    let is_ascii = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let beside = [value, b", 203.0.113.9"].concat();
    if let (true, Some(found)) = (is_ascii, parsers::forwarded(proxy, false, &beside)) {
        assert_eq!(found, IpAddr::from([203, 0, 113, 9]));
    }
    parsers::forwarded(proxy, is_rfc, value);
}

/// Without the secret nobody is let in.
fn token(bytes: &[u8]) {
    assert!(!parsers::token(bytes), "a token was made up");
}

/// Of claims that are signed as they should be, only those that are true now name a role.
fn claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    if !parsers::claims(&claims) {
        return;
    }
    let now = parsers::now() as f64;
    // Beyond a double it is endless.
    let number = |time: &serde_json::Value| time.to_string().parse::<f64>().expect("a number");
    let time = |name: &str| claims.get(name).map(number);
    assert!(claims["role"].as_str().is_some_and(|role| !role.is_empty() && !role.contains('\0')));
    assert!(time("exp").is_none_or(|exp| exp > now - parsers::LEEWAY - 5.0), "expired");
    assert!(time("nbf").is_none_or(|nbf| nbf < now + parsers::LEEWAY + 5.0), "not yet");
}

/// A document comes back with the members that it was sent with, and the second time as the first.
fn document(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Some(back) = parsers::document(text) else { return };
    for back in back {
        let names = |json: &serde_json::Value| -> Vec<String> {
            json.as_object().expect("an object").keys().cloned().collect()
        };
        let written = back.to_string();
        let [typed, plain] = parsers::document(&written).expect("what we write");
        assert_eq!(names(&typed), names(&back), "{written}");
        assert_eq!(plain, back);
    }
}

/// A selector and a document: one matches, or its negation does.
fn selector(bytes: &[u8]) {
    let (one, other) = halves(bytes);
    let (Some(one), Some(other)) = (text(one), text(other)) else { return };
    let Ok(document) = serde_json::from_str::<serde_json::Value>(other) else { return };
    let Some(found) = parsers::selector(one, &document) else { return };
    if let Some(negated) = parsers::selector(&format!("{{\"$not\":{one}}}"), &document) {
        assert_eq!(found, !negated, "{one}");
    }
}

/// The lines of a file, or the file itself where the first byte is odd.
fn export(bytes: &[u8]) {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::temp_dir().join(format!("godwit-parsers-{}", std::process::id()))
    });
    let Some((kind, rest)) = bytes.split_first() else { return };
    let file = match kind & 1 {
        1 => rest.to_vec(),
        _ => parsers::compressed(rest),
    };
    if parsers::export(&PATH, &file).is_ok() {
        let lines = rest.iter().filter(|byte| **byte == b'\n').count();
        assert!(kind & 1 == 1 || lines >= 2, "a file without a header or a seal");
    }
}
