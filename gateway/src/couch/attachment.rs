//! In charge of what a document says of its attachments: as a client sends it, as the record keeps it, as it is shown.
//!
//! A record has them in its attribute `_attachments`: type, length, MD5 (CouchDB's digest), the generation that
//! they came with, and the SHA-256 of each part that the bytes are cut into (`godwit.attachment_parts`).

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use revision::{Attributes, Value};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fmt;

use super::error::Refusal;

/// The attribute.
pub const ATTRIBUTE: &str = "_attachments";
/// Bytes of a part. A multiple of 3, so that parts in base64 stand one behind the other.
pub const PART_BYTES: usize = 768 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub content_type: String,
    pub length: u64,
    pub md5: Vec<u8>,
    /// The generation of the revision that it came with.
    pub revpos: u64,
    pub parts: Vec<Vec<u8>>,
}

/// An attachment as a document that is sent has it.
#[derive(Debug, Clone)]
pub enum Sent {
    Inline {
        content_type: String,
        data: Vec<u8>,
        revpos: Option<u64>,
    },
    /// What an earlier revision has under this name.
    Stub {
        digest: Option<String>,
    },
    /// What comes behind the document in a multipart body.
    Follows {
        content_type: String,
        /// As it is when it is unpacked.
        length: Option<u64>,
        revpos: Option<u64>,
        is_gzip: bool,
    },
    /// What has followed, and is kept.
    Kept(Attachment),
}

#[derive(Deserialize)]
struct Raw {
    content_type: Option<String>,
    data: Option<String>,
    #[serde(default)]
    stub: bool,
    #[serde(default)]
    follows: bool,
    revpos: Option<u64>,
    digest: Option<String>,
    length: Option<u64>,
    encoding: Option<String>,
}

/// Members in the order in which they stand.
struct Ordered(Vec<(String, Raw)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Ordered;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of attachments by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Ordered, A::Error> {
                let mut found = Vec::new();
                while let Some(member) = members.next_entry()? {
                    found.push(member);
                }
                Ok(Ordered(found))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A document's member `_attachments`, and the names of those that follow, in order.
pub fn read(json: &RawValue) -> Result<(BTreeMap<String, Sent>, Vec<String>), Refusal> {
    let invalid =
        |reason: String| Err(Refusal::new(StatusCode::BAD_REQUEST, "doc_validation", reason));
    let Ok(raw) = serde_json::from_str::<Option<Ordered>>(json.get()) else {
        return invalid("_attachments is an object of attachments by name".into());
    };
    let mut sent = BTreeMap::new();
    let mut following = Vec::new();
    for (name, raw) in raw.map(|raw| raw.0).unwrap_or_default() {
        check_name(&name)?;
        let content_type =
            raw.content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
        if content_type.contains(char::is_control) {
            return invalid(format!("attachment {name:?}: its type holds control characters"));
        }
        let one = match raw.data {
            _ if raw.stub => Sent::Stub { digest: raw.digest },
            _ if raw.follows => {
                following.push(name.clone());
                let is_gzip = match raw.encoding.as_deref() {
                    None | Some("identity") => false,
                    Some("gzip") => true,
                    Some(other) => {
                        return invalid(format!("attachment {name:?} is encoded by {other:?}"));
                    }
                };
                let (length, revpos) = (raw.length, raw.revpos);
                Sent::Follows { content_type, length, revpos, is_gzip }
            }
            Some(data) => match BASE64.decode(data.as_bytes()) {
                Ok(data) => Sent::Inline { content_type, data, revpos: raw.revpos },
                Err(_) => return invalid(format!("attachment {name:?} is not in base64")),
            },
            None => return invalid(format!("attachment {name:?} has neither data nor stub")),
        };
        sent.insert(name, one);
    }
    Ok((sent, following))
}

pub fn check_name(name: &str) -> Result<(), Refusal> {
    if name.starts_with('_') {
        let reason = format!("Attachment name '{name}' starts with prohibited character '_'");
        return Err(Refusal::bad_request(reason));
    }
    if name.is_empty() || name.contains('\0') {
        return Err(Refusal::bad_request("Attachment name must not be empty, nor hold U+0000"));
    }
    Ok(())
}

impl Attachment {
    fn of_value(value: &Value) -> Option<Self> {
        let Value::Map(members) = value else { return None };
        let number = |name: &str| match members.get(name) {
            Some(Value::Int(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        let (Value::String(content_type), Value::Bytes(md5), Value::List(parts)) =
            (members.get("content_type")?, members.get("md5")?, members.get("parts")?)
        else {
            return None;
        };
        let part = |part: &Value| match part {
            Value::Bytes(digest) => Some(digest.clone()),
            _ => None,
        };
        Some(Attachment {
            content_type: content_type.clone(),
            length: number("length")?,
            md5: md5.clone(),
            revpos: number("revpos")?,
            parts: parts.iter().map(part).collect::<Option<_>>()?,
        })
    }

    pub fn to_value(&self) -> Value {
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        Value::Map(BTreeMap::from([
            ("content_type".to_owned(), Value::String(self.content_type.clone())),
            ("length".to_owned(), number(self.length)),
            ("md5".to_owned(), Value::Bytes(self.md5.clone())),
            ("revpos".to_owned(), number(self.revpos)),
            (
                "parts".to_owned(),
                Value::List(self.parts.iter().map(|part| Value::Bytes(part.clone())).collect()),
            ),
        ]))
    }

    /// As CouchDB names its bytes.
    pub fn digest(&self) -> String {
        format!("md5-{}", BASE64.encode(&self.md5))
    }

    pub fn stub(&self) -> Json {
        json!({
            "content_type": self.content_type,
            "revpos": self.revpos,
            "digest": self.digest(),
            "length": self.length,
            "stub": true,
        })
    }
}

/// A revision's attachments by name; what isn't in their form is none.
pub fn of(attributes: &Attributes) -> BTreeMap<String, Attachment> {
    let Some(Value::Map(members)) = attributes.get(ATTRIBUTE) else { return BTreeMap::new() };
    let one = |(name, value): (&String, &Value)| {
        Attachment::of_value(value).map(|attachment| (name.clone(), attachment))
    };
    members.iter().filter_map(one).collect()
}

pub fn to_attribute(attachments: &BTreeMap<String, Attachment>) -> Value {
    Value::Map(attachments.iter().map(|(name, one)| (name.clone(), one.to_value())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_kept_as_it_is() {
        let photo = Attachment {
            content_type: "image/jpeg".into(),
            length: 3,
            md5: vec![1; 16],
            revpos: 2,
            parts: vec![vec![2; 32], vec![3; 32]],
        };
        let kept = to_attribute(&BTreeMap::from([("a/b.jpg".to_owned(), photo.clone())]));
        let attributes = Attributes::from([(ATTRIBUTE.to_owned(), kept)]);
        assert_eq!(of(&attributes)["a/b.jpg"], photo);
        assert_eq!(photo.stub()["digest"], "md5-AQEBAQEBAQEBAQEBAQEBAQ==");
    }

    #[test]
    fn what_follows_does_so_in_the_documents_order() {
        let json = r#"{"b":{"follows":true},"c":{"stub":true},"a":{"follows":true,"length":3}}"#;
        let (sent, following) = read(&RawValue::from_string(json.into()).unwrap()).unwrap();
        assert_eq!((sent.len(), following), (3, vec!["b".to_owned(), "a".to_owned()]));
    }

    #[test]
    fn what_is_no_attachment_is_refused() {
        for json in [
            r#"{"a":1}"#,
            r#"{"a":{}}"#,
            r#"{"a":{"data":"?"}}"#,
            r#"{"_a":{"data":""}}"#,
            r#"{"":{"data":""}}"#,
            r#"{"a":{"follows":true,"encoding":"br"}}"#,
            "[]",
        ] {
            assert!(read(&RawValue::from_string(json.into()).unwrap()).is_err(), "{json}");
        }
        assert!(read(&RawValue::from_string("null".into()).unwrap()).unwrap().0.is_empty());
    }
}
