//! In charge of parsing JSON that nests as deep as a record may: 64 levels of values take more brackets than
//! serde_json takes by itself.

use memchr::memchr2;
use serde::de::DeserializeOwned;

/// Brackets around brackets. Values may be nested 64 deep (docs/canonical.md), each level taking two
/// brackets of JSON, and a batch adds a few; far below where any parser's stack ends.
pub const BRACKETS_DEEP_MAX: usize = 160;

/// Parses what nests at most `BRACKETS_DEEP_MAX` brackets; what nests deeper fails as serde_json would have it.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    if depth(bytes) <= BRACKETS_DEEP_MAX {
        parse_within(bytes)
    } else {
        serde_json::from_slice(bytes)
    }
}

/// Parses what is known to nest no deeper, being a part of what was looked through.
pub fn parse_within<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.disable_recursion_limit();
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The deepest nesting of brackets outside strings; what is not JSON may count wrong and then fails
/// to parse.
pub fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut at) = (0usize, 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Where a string's closing quote is, from behind its opening one; the end of the bytes where it has none.
pub fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use revision::Record;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(br#"{"a":["[[[",{"b\"]]":1}]}"#), 3);
        assert_eq!(depth(&[b'['; 20_000]), 20_000);
        for unended in ["[\"", "[\"[", "[\"\\", "[\"\\\""] {
            assert_eq!(depth(unended.as_bytes()), 1, "{unended}");
        }
    }

    #[test]
    fn a_record_is_read_as_deep_as_it_may_be() {
        let nested = |levels: usize| {
            let lists = levels - 1;
            let value =
                format!("{}{{\"null\":true}}{}", "{\"list\":[".repeat(lists), "]}".repeat(lists));
            format!("{{\"changes\":[{{\"id\":\"a\",\"attributes\":{{\"deep\":{value}}}}}]}}")
        };
        #[derive(serde::Deserialize)]
        struct Page {
            changes: Vec<Record>,
        }
        let page: Page = parse(nested(revision::DEPTH_MAX).as_bytes()).unwrap();
        assert_eq!(page.changes.len(), 1);
        assert!(parse::<Page>(nested(revision::DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(parse::<Page>("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse::<u32>(b"1 2").is_err());
    }
}
