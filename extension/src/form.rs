//! In charge of the two forms that a record leaves in: JSON as it is on the wire, and Postgres's jsonb. What a record
//! says is told once, member by member (`body.rs`, `codec.rs`), to a writer of either.

use revision::{Attributes, Value};

#[derive(Clone, Copy)]
pub enum Form {
    Json,
    /// Without the head of a varlena, to stand where one of four bytes ends.
    Jsonb,
}

/// Each call appends one value.
pub trait Writer: Sized {
    /// An object of those of these members that are there.
    fn object(
        &mut self,
        names: &Names,
        is_there: impl Fn(usize) -> bool,
        value: impl FnMut(&mut Self, usize),
    );
    /// An object whose names are not made ready, for they come but once; in the order of their bytes.
    fn members<T>(&mut self, members: &[(&str, T)], value: impl FnMut(&mut Self, &T));
    /// An object of one member, whose name needs no escape.
    fn single(&mut self, name: &str, value: impl FnOnce(&mut Self));
    fn list(&mut self, count: usize, item: impl FnMut(&mut Self, usize));
    fn text(&mut self, text: &str);
    /// A text that needs no escape.
    fn plain(&mut self, push: impl FnOnce(&mut Vec<u8>));
    fn truth(&mut self);
}

/// The names of an object's members, made ready for both forms.
pub struct Names {
    pub names: Vec<Name>,
    /// In which order jsonb has them: by their length, then by their bytes.
    pub by_length: Vec<usize>,
}

pub struct Name {
    pub text: String,
    /// As a member's: `"region":`.
    json: Vec<u8>,
}

impl Names {
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Names {
        let names: Vec<Name> = names.into_iter().map(Name::of).collect();
        let mut by_length: Vec<usize> = (0..names.len()).collect();
        by_length.sort_unstable_by_key(|at| (names[*at].text.len(), names[*at].text.as_bytes()));
        Names { names, by_length }
    }
}

impl Name {
    fn of(text: &str) -> Name {
        let mut json = Vec::new();
        revision::write_text(text, &mut json);
        json.push(b':');
        Name { text: text.to_owned(), json }
    }
}

pub struct Json<'o>(pub &'o mut Vec<u8>);

impl Writer for Json<'_> {
    fn object(
        &mut self,
        names: &Names,
        is_there: impl Fn(usize) -> bool,
        mut value: impl FnMut(&mut Self, usize),
    ) {
        self.0.push(b'{');
        let mut is_first = true;
        for at in (0..names.names.len()).filter(|at| is_there(*at)) {
            if !std::mem::take(&mut is_first) {
                self.0.push(b',');
            }
            self.0.extend_from_slice(&names.names[at].json);
            value(self, at);
        }
        self.0.push(b'}');
    }

    fn members<T>(&mut self, members: &[(&str, T)], mut value: impl FnMut(&mut Self, &T)) {
        self.0.push(b'{');
        for (at, (name, member)) in members.iter().enumerate() {
            if at > 0 {
                self.0.push(b',');
            }
            self.text(name);
            self.0.push(b':');
            value(self, member);
        }
        self.0.push(b'}');
    }

    fn single(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.0.extend_from_slice(b"{\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        value(self);
        self.0.push(b'}');
    }

    fn list(&mut self, count: usize, mut item: impl FnMut(&mut Self, usize)) {
        self.0.push(b'[');
        for at in 0..count {
            if at > 0 {
                self.0.push(b',');
            }
            item(self, at);
        }
        self.0.push(b']');
    }

    fn text(&mut self, text: &str) {
        revision::write_text(text, self.0);
    }

    fn plain(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        self.0.push(b'"');
        push(self.0);
        self.0.push(b'"');
    }

    fn truth(&mut self) {
        self.0.extend_from_slice(b"true");
    }
}

/// Writes a value in its wire form.
pub fn write_value(value: &Value, out: &mut impl Writer) {
    out.single(value.kind(), |out| match value {
        Value::Null => out.truth(),
        Value::List(items) => out.list(items.len(), |out, at| write_value(&items[at], out)),
        Value::Map(members) => write_attributes(members, out),
        Value::Decimal(text) | Value::String(text) | Value::Date(text) | Value::Timestamp(text) => {
            out.text(text)
        }
        scalar => out.text(&scalar.wire_text().unwrap_or_default()),
    });
}

/// Writes attributes as a record has them.
pub fn write_attributes(attributes: &Attributes, out: &mut impl Writer) {
    let members: Vec<(&str, &Value)> =
        attributes.iter().map(|(name, value)| (name.as_str(), value)).collect();
    out.members(&members, |out, value| write_value(value, out));
}
