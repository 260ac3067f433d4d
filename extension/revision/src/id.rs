//! In charge of revision ids: their text, their order, and making them.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;

use crate::canonical;
use crate::value::Attributes;

/// Generations stay integers that JavaScript can hold.
pub const GENERATION_MAX: u64 = (1 << 53) - 1;
/// What DESIGN.md section 3 takes from other systems.
pub const TOKEN_BYTES_MAX: usize = 128;
/// Where the token begins in an id's text, if there is room for the longest generation before it.
pub(crate) const TOKEN_AT: usize = GENERATION_MAX.ilog10() as usize + 2;
pub const REVISION_BYTES_MAX: usize = TOKEN_AT + TOKEN_BYTES_MAX;
/// Of a digest, what a token of ours is the hex of.
const DIGEST_BYTES: usize = 16;

/// One version of a record: `N-token`. Ordered by generation as a number, then by token as bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RevisionId {
    generation: u64,
    token: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevisionIdError {
    #[error("revision {0:?} is not of the form N-token")]
    Shape(String),
    #[error("revision {0:?}: the generation is an integer from 1 to 2^53-1 without leading zeros")]
    Generation(String),
    #[error(
        "revision {0:?}: the token is 1 to 128 printable ASCII characters without comma or quote"
    )]
    Token(String),
    #[error("these bytes are no revision id in sortable form")]
    Sortable,
    #[error(
        "a version of Godwit before 0.2.0 stored these bytes, in another form: dump the database with that version and restore it with this"
    )]
    Unreleased,
}

impl RevisionId {
    pub fn parse(text: &str) -> Result<Self, RevisionIdError> {
        let shown = || text.chars().take(80).collect::<String>();
        let (number, token) =
            text.split_once('-').ok_or_else(|| RevisionIdError::Shape(shown()))?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || number.starts_with('0') || number.is_empty() {
            return Err(RevisionIdError::Generation(shown()));
        }
        let generation = number.parse().map_err(|_| RevisionIdError::Generation(shown()))?;
        Self::new(generation, token)
    }

    pub fn new(generation: u64, token: &str) -> Result<Self, RevisionIdError> {
        let shown = || format!("{generation}-{}", token.chars().take(80).collect::<String>());
        if !(1..=GENERATION_MAX).contains(&generation) {
            return Err(RevisionIdError::Generation(shown()));
        }
        let is_allowed = token.bytes().all(RevisionId::may_hold);
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !is_allowed {
            return Err(RevisionIdError::Token(shown()));
        }
        Ok(RevisionId::of_parts(generation, token))
    }

    /// The id of the revision that this edit of this revision makes: the one place where ids are
    /// made.
    ///
    /// # Panics
    /// When `previous` is of the last generation, which no peer can reach by editing.
    pub fn of(
        id: &str,
        previous: Option<&RevisionId>,
        deleted: bool,
        attributes: &Attributes,
    ) -> RevisionId {
        let mut encoder = canonical::Encoder::new(id, previous, deleted, attributes.len());
        for (name, value) in attributes {
            encoder.attribute(name, value);
        }
        encoder.finish()
    }

    /// The id whose generation follows `previous` and whose token is a digest's first 16 bytes.
    pub(crate) fn from_digest(previous: Option<&RevisionId>, digest: &[u8]) -> RevisionId {
        let generation = previous.map_or(0, RevisionId::generation) + 1;
        // Another peer would refuse to read such an id, so none is made.
        assert!(generation <= GENERATION_MAX, "no generation follows 2^53-1");
        let mut token = vec![0; 2 * DIGEST_BYTES];
        hex::encode_to_slice(&digest[..DIGEST_BYTES], &mut token)
            .expect("it has room for two digits a byte");
        let token = String::from_utf8(token).expect("hex digits are ASCII");
        RevisionId { generation, token: token.into() }
    }

    /// What sorts below every revision of a generation; not an id itself, for it has no token.
    pub fn floor(generation: u64) -> RevisionId {
        RevisionId { generation, token: "".into() }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// The id's text.
    pub(crate) fn text_in<'a>(&self, text: &'a mut [u8; REVISION_BYTES_MAX]) -> &'a str {
        let end = TOKEN_AT + self.token.len();
        text[TOKEN_AT..end].copy_from_slice(self.token.as_bytes());
        let first = write_generation(self.generation, text);
        std::str::from_utf8(&text[first..end]).expect("digits, a dash and a token are ASCII")
    }

    /// Whether a token may have this character.
    pub(crate) const fn may_hold(byte: u8) -> bool {
        matches!(byte, 0x21..=0x7e) && byte != b',' && byte != b'"'
    }

    /// Of parts that are known to be in order.
    pub(crate) fn of_parts(generation: u64, token: &str) -> RevisionId {
        RevisionId { generation, token: token.into() }
    }
}

/// Writes a generation and the dash in front of the token; where it begins.
pub(crate) fn write_generation(mut generation: u64, text: &mut [u8; REVISION_BYTES_MAX]) -> usize {
    let mut first = TOKEN_AT - 1;
    text[first] = b'-';
    loop {
        first -= 1;
        text[first] = b'0' + (generation % 10) as u8;
        generation /= 10;
        if generation == 0 {
            return first;
        }
    }
}

impl Ord for RevisionId {
    fn cmp(&self, other: &Self) -> Ordering {
        let generation = self.generation.cmp(&other.generation);
        generation.then_with(|| self.token.as_bytes().cmp(other.token.as_bytes()))
    }
}

impl PartialOrd for RevisionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text_in(&mut [0; REVISION_BYTES_MAX]))
    }
}

impl fmt::Debug for RevisionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for RevisionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RevisionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(RevisionIdVisitor)
    }
}

/// Reads it where it stands: a batch has thousands.
struct RevisionIdVisitor;

impl Visitor<'_> for RevisionIdVisitor {
    type Value = RevisionId;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        RevisionId::parse(text).map_err(E::custom)
    }
}
