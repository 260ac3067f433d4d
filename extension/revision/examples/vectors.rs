//! In charge of filling in vectors: `cargo run --example vectors < revisions.json`.
//!
//! Reads a file of tests/vectors from standard input and prints it, one vector a line, with
//! `canonical`, `revision` and `sortable` as this crate makes them. Only for new vectors: what was
//! released is never filled in again, and tests/vectors/check.py, which shares no code with this
//! crate, must agree.

use revision::{Attributes, RevisionId, Value, canonical};
use serde_json::{Value as Json, json};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut file: Json = serde_json::from_reader(std::io::stdin())?;
    let vectors = file["vectors"].as_array_mut().ok_or("no vectors")?;
    let mut lines = Vec::new();
    for vector in vectors {
        let filled = fill(vector)?;
        for (name, value) in filled {
            vector[name] = value;
        }
        lines.push(ascii(&line(vector)));
    }
    println!("{{\"about\": {},\n\"vectors\": [\n{}\n]}}", file["about"], lines.join(",\n"));
    Ok(())
}

type Filled = Vec<(&'static str, Json)>;

fn fill(vector: &Json) -> Result<Filled, Box<dyn Error>> {
    if let Some(ascending) = vector.get("ascending") {
        let ids: Vec<RevisionId> = serde_json::from_value(ascending.clone())?;
        let sortable: Vec<String> = ids.iter().map(|id| hex::encode(id.to_sortable())).collect();
        return Ok(vec![("sortable", json!(sortable))]);
    }
    if let Some(value) = vector.get("value") {
        let attributes = Attributes::from([(String::new(), Value::from_wire(value)?)]);
        let bytes = canonical::encode("", None, false, &attributes);
        // Before the value: version, empty id, no previous, lives, one attribute, its empty name.
        return Ok(vec![("canonical", json!(hex::encode(&bytes[15..])))]);
    }
    let Some(attributes) = vector.get("attributes") else { return Ok(Vec::new()) };
    let attributes: Attributes = serde_json::from_value(attributes.clone())?;
    let previous: Option<RevisionId> = serde_json::from_value(vector["previous"].clone())?;
    let id = vector["id"].as_str().ok_or("no id")?;
    let deleted = vector["deleted"].as_bool().ok_or("not deleted or not")?;
    let bytes = canonical::encode(id, previous.as_ref(), deleted, &attributes);
    let revision = RevisionId::of(id, previous.as_ref(), deleted, &attributes);
    Ok(vec![("canonical", json!(hex::encode(&bytes))), ("revision", json!(revision))])
}

/// One vector, its members in the order in which a person reads them: input before output.
fn line(vector: &Json) -> String {
    const ORDER: &str = "name what input json id previous deleted attributes value paths \
                         ascending sortable leaves winner conflicts canonical revision";
    let Some(members) = vector.as_object() else { return vector.to_string() };
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| ORDER.split(' ').position(|known| known == *name));
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
    format!("{{{}}}", members.join(", "))
}

/// JSON in ASCII: what an editor or a terminal would normalise or hide is escaped.
fn ascii(line: &str) -> String {
    let mut out = String::new();
    for unit in line.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() && byte != 0x7f => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}
