//! In charge of the vectors in tests/vectors: this crate must agree with each of them, as
//! tests/vectors/check.py does, which shares no code with it.

use revision::{
    Attributes, Record, RevisionId, Tree, Value, canonical, from_json, from_json_text, to_json,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::fs;
use std::path::PathBuf;

/// How many vectors the first release had; files only grow, so fewer means that some were lost.
const AT_LEAST: [(&str, usize); 6] = [
    ("values", 81),
    ("revisions", 45),
    ("order", 8),
    ("winner", 18),
    ("json", 27),
    ("invalid", 127),
];

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors"))
}

#[derive(Deserialize)]
struct File<V> {
    vectors: Vec<V>,
}

/// A file's vectors. Fails when there are too few, so that a check can't pass for want of them.
fn read<V: DeserializeOwned>(file: &str) -> Vec<V> {
    let path = folder().join(file).with_extension("json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let File { vectors } =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let (_, at_least) = AT_LEAST.iter().find(|(name, _)| *name == file).expect("a known file");
    assert!(
        vectors.len() >= *at_least,
        "{file}.json has {} vectors, not {at_least}",
        vectors.len()
    );
    vectors
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The canonical bytes of a value: what is left of a revision's after all that stands before them.
fn value_hex(value: &Value) -> String {
    let attributes = Attributes::from([(String::new(), value.clone())]);
    let bytes = canonical::encode("", None, false, &attributes);
    let bare = canonical::encode("", None, false, &Attributes::new());
    // The attribute's empty name is four bytes of length.
    hex::encode(&bytes[bare.len() + 4..])
}

/// Plain JSON as section 8 says, from the wire form: another way than the crate's, so that both
/// must be right to agree.
fn plain_text(wire: &Json) -> String {
    let (kind, member) = wire.as_object().and_then(|object| object.iter().next()).expect("a kind");
    let joined = |parts: Vec<String>| parts.join(",");
    match (kind.as_str(), member) {
        ("null", _) => "null".into(),
        ("bool" | "int", Json::String(text)) => text.clone(),
        ("decimal", Json::String(text)) if !matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            text.clone()
        }
        ("list", Json::Array(items)) => {
            format!("[{}]", joined(items.iter().map(plain_text).collect()))
        }
        ("map", Json::Object(members)) => {
            let mut members: Vec<_> = members.iter().collect();
            // The order of the names' bytes, in which a map keeps them.
            members.sort_by_key(|(name, _)| *name);
            let member = |(name, value): (&String, &Json)| {
                format!("{}:{}", Json::from(name.as_str()), plain_text(value))
            };
            format!("{{{}}}", joined(members.into_iter().map(member).collect()))
        }
        (_, text) => text.to_string(),
    }
}

#[test]
fn every_file_is_checked() {
    let known = |stem: &str| AT_LEAST.iter().any(|(name, _)| *name == stem);
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let json = path.extension().is_some_and(|extension| extension == "json");
        assert!(!json || known(stem), "{path:?} is not checked");
    }
}

#[derive(Deserialize)]
struct ValueVector {
    name: String,
    value: Json,
    canonical: String,
}

#[test]
fn values() {
    for ValueVector { name, value: wire, canonical } in read::<ValueVector>("values") {
        let value = Value::from_wire(&wire).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(value_hex(&value), canonical, "{name}");
        assert_eq!(value.to_wire(), wire, "{name}");
        assert_eq!(value.validate(), Ok(()), "{name}");
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(text.parse::<Json>().unwrap(), wire, "{name}: serialized");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{name}: deserialized");
        assert_eq!(to_json(&value).to_string(), plain_text(&wire), "{name}: plain JSON");
    }
}

#[derive(Deserialize)]
struct RevisionVector {
    name: String,
    id: String,
    previous: Option<RevisionId>,
    deleted: bool,
    attributes: Json,
    canonical: String,
    revision: RevisionId,
}

#[test]
fn revisions() {
    for vector in read::<RevisionVector>("revisions") {
        let RevisionVector { name, id, previous, deleted, .. } = vector;
        let wire = serde_json::json!({
            "id": id, "deleted": deleted, "revision": vector.revision,
            "attributes": vector.attributes,
        });
        let record: Record = serde_json::from_str(&wire.to_string())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(record.check(), Ok(()), "{name}");
        let attributes = record.attributes;

        let bytes = canonical::encode(&id, previous.as_ref(), deleted, &attributes);
        assert_eq!(hex::encode(&bytes), vector.canonical, "{name}");
        let made = RevisionId::of(&id, previous.as_ref(), deleted, &attributes);
        assert_eq!(made, vector.revision, "{name}");
        let expected = canonical::Decoded { id, previous, deleted, attributes };
        assert_eq!(canonical::decode(&bytes), Ok(expected), "{name}");
    }
}

#[derive(Deserialize)]
struct OrderVector {
    name: String,
    ascending: Vec<String>,
    sortable: Vec<String>,
}

#[test]
fn order() {
    for OrderVector { name, ascending, sortable } in read::<OrderVector>("order") {
        let ids: Vec<RevisionId> =
            ascending.iter().map(|text| RevisionId::parse(text).unwrap()).collect();
        let keys: Vec<Vec<u8>> = ids.iter().map(RevisionId::to_sortable).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{name}: ids");
        assert!(keys.is_sorted_by(|a, b| a < b), "{name}: bytes");
        assert_eq!(keys.iter().map(hex::encode).collect::<Vec<_>>(), sortable, "{name}");
        for ((id, key), text) in ids.iter().zip(&keys).zip(&ascending) {
            assert_eq!(RevisionId::from_sortable(key).as_ref(), Ok(id), "{name}");
            assert_eq!(id.to_string(), *text, "{name}");
        }
    }
}

#[derive(Deserialize)]
struct WinnerVector {
    name: String,
    paths: Vec<Path>,
    leaves: Vec<RevisionId>,
    winner: RevisionId,
    conflicts: Vec<RevisionId>,
}

#[derive(Deserialize)]
struct Path {
    deleted: bool,
    revisions: Vec<RevisionId>,
}

#[test]
fn winner() {
    for WinnerVector { name, paths, leaves, winner, conflicts } in read::<WinnerVector>("winner") {
        // As they arrive, backwards, and each twice.
        let forward: Vec<&Path> = paths.iter().collect();
        let backward = forward.iter().rev().copied().collect();
        let twice = forward.iter().chain(&forward).copied().collect();
        for paths in [forward, backward, twice] {
            let mut tree = Tree::new();
            for path in paths {
                tree.insert(&path.revisions, path.deleted);
            }
            assert_eq!(tree.leaves(), leaves.iter().collect::<Vec<_>>(), "{name}: leaves");
            assert_eq!(tree.winner(), Some(&winner), "{name}: winner");
            assert_eq!(tree.conflicts(), conflicts.iter().collect::<Vec<_>>(), "{name}: conflicts");
        }
    }
}

#[derive(Deserialize)]
struct JsonVector {
    name: String,
    json: String,
    value: Json,
    canonical: String,
}

#[test]
fn plain_json() {
    for JsonVector { name, json, value: wire, canonical } in read::<JsonVector>("json") {
        let value = Value::from_wire(&wire).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(from_json_text(&json).as_ref(), Ok(&value), "{name}: from text");
        assert_eq!(from_json(&json.parse().unwrap()).as_ref(), Ok(&value), "{name}: parsed");
        assert_eq!(value_hex(&value), canonical, "{name}");
        assert_eq!(to_json(&value).to_string(), plain_text(&wire), "{name}: and back");
    }
}

#[derive(Deserialize)]
struct InvalidVector {
    name: String,
    what: String,
    input: String,
}

#[test]
fn invalid() {
    for InvalidVector { name, what, input } in read::<InvalidVector>("invalid") {
        let taken = match what.as_str() {
            "value" => serde_json::from_str::<Value>(&input).is_ok(),
            "record" => {
                serde_json::from_str::<Record>(&input).is_ok_and(|record| record.check().is_ok())
            }
            "revision" => {
                serde_json::from_value::<RevisionId>(input.as_str().into()).is_ok()
                    || RevisionId::parse(&input).is_ok()
            }
            "canonical" => canonical::decode(&unhex(&input)).is_ok(),
            other => panic!("{name}: {other:?} is nothing that can be read"),
        };
        assert!(!taken, "{name}: was taken");
    }
}
