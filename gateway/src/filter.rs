//! In charge of `where`: comparisons on columns, `region.eq.north and size.gte.3`, as they go to the extension.
//!
//! A comparison is `column.operator` or `column.operator.value`. What holds a space, a quote, in a name a dot, in a list a
//! comma or a bracket, stands in double quotes, in which a backslash takes the next character as it is.

use serde::Serialize;

/// As much as a filter may say, in bytes.
const BYTES_MAX: usize = 16 * 1024;

#[derive(Serialize, Debug, PartialEq, Eq, Clone)]
pub struct Comparison {
    column: String,
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Operand>,
}

#[derive(Serialize, Debug, PartialEq, Eq, Clone)]
#[serde(untagged)]
enum Operand {
    One(String),
    Many(Vec<String>),
}

/// Operators, and how many values they take.
const OPERATORS: &[(&str, Takes)] = &[
    ("eq", Takes::One),
    ("neq", Takes::One),
    ("lt", Takes::One),
    ("lte", Takes::One),
    ("gt", Takes::One),
    ("gte", Takes::One),
    ("in", Takes::Many),
    ("null", Takes::None),
    ("notnull", Takes::None),
];

#[derive(Clone, Copy)]
enum Takes {
    None,
    One,
    Many,
}

/// Reads a filter; the error says what is wrong, and where.
pub fn parse(text: &str) -> Result<Vec<Comparison>, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("where is longer than {BYTES_MAX} bytes"));
    }
    let mut reader = Reader { text, at: 0 };
    let mut comparisons = Vec::new();
    loop {
        reader.spaces();
        comparisons.push(reader.comparison()?);
        reader.spaces();
        if reader.is_at_end() {
            return Ok(comparisons);
        }
        reader.expect_and()?;
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn spaces(&mut self) {
        while self.take(' ') {}
    }

    fn fault<T>(&self, wanted: &str) -> Result<T, String> {
        let place = self.text[..self.at].chars().count() + 1;
        Err(format!("where, at character {place}: {wanted}"))
    }

    fn expect_and(&mut self) -> Result<(), String> {
        let Some(rest) = self.rest().strip_prefix("and").filter(|rest| rest.starts_with(' '))
        else {
            return self.fault("comparisons are joined by ` and `; quote what holds a space");
        };
        self.at = self.text.len() - rest.len();
        Ok(())
    }

    fn comparison(&mut self) -> Result<Comparison, String> {
        let column = self.word("a column's name")?;
        if !self.take('.') {
            return self.fault("a dot and an operator are missing");
        }
        let name = self.word("an operator")?;
        let Some((op, takes)) = OPERATORS.iter().find(|(op, _)| *op == name) else {
            return self.fault("an operator is eq, neq, lt, lte, gt, gte, in, null or notnull");
        };
        let value = match takes {
            Takes::None => None,
            _ if !self.take('.') => return self.fault("a dot and a value are missing"),
            Takes::One => Some(Operand::One(self.value(&[' ', '"'])?)),
            Takes::Many => Some(Operand::Many(self.list()?)),
        };
        Ok(Comparison { column, op, value })
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        if !self.take('(') {
            return self.fault("in takes (one,another)");
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value(&[' ', '"', ',', '(', ')'])?);
            if self.take(')') {
                return Ok(values);
            }
            if !self.take(',') {
                return self.fault("a comma or a bracket is missing");
            }
        }
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        let word = self.value(&[' ', '"', '.'])?;
        match word.is_empty() {
            true => self.fault(&format!("{what} is missing")),
            false => Ok(word),
        }
    }

    /// A quoted text, or all up to what ends it.
    fn value(&mut self, ends: &[char]) -> Result<String, String> {
        if self.take('"') {
            return self.quoted();
        }
        let end = self.rest().find(ends).unwrap_or(self.rest().len());
        let word = self.rest()[..end].to_owned();
        self.at += end;
        Ok(word)
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut value = String::new();
        while let Some(next) = self.peek() {
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(value),
                '\\' => match self.peek() {
                    Some(escaped) => {
                        self.at += escaped.len_utf8();
                        value.push(escaped);
                    }
                    None => break,
                },
                other => value.push(other),
            }
        }
        self.fault("a quote is not closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        serde_json::to_string(&parse(text).unwrap()).unwrap()
    }

    #[test]
    fn comparisons_are_read_with_their_values() {
        assert_eq!(json("region.eq.north"), r#"[{"column":"region","op":"eq","value":"north"}]"#);
        assert_eq!(
            json(r#" a.gte.-3  and "b.c".in.(x,"y, \"z\"",) and d.null "#),
            r#"[{"column":"a","op":"gte","value":"-3"},{"column":"b.c","op":"in","value":["x","y, \"z\"",""]},{"column":"d","op":"null"}]"#
        );
        assert_eq!(json("n.eq.2.5"), r#"[{"column":"n","op":"eq","value":"2.5"}]"#);
        assert_eq!(json("n.eq."), r#"[{"column":"n","op":"eq","value":""}]"#);
        assert_eq!(json("é.eq.ü"), r#"[{"column":"é","op":"eq","value":"ü"}]"#);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, place) in [
            ("", 1),
            ("a", 2),
            ("a.", 3),
            ("a.like.b", 7),
            ("a.eq", 5),
            ("a.eq.b c.eq.d", 8),
            ("a.eq.b and", 8),
            ("a.eq.b or c.eq.d", 8),
            ("a.in.b", 6),
            ("a.in.(b", 8),
            ("a.eq.\"b", 8),
            ("a.eq.\"b\\", 9),
            ("a.null.b", 7),
        ] {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(&format!("at character {place}:")), "{text}: {reason}");
        }
        assert!(parse(&format!("a.eq.{}", "x".repeat(BYTES_MAX))).is_err());
    }
}
