//! In charge of dates and timestamps as text: Postgres's day and microsecond counts to the wire's
//! ISO 8601 and RFC 3339, and the wire's text to what Postgres's input functions read.

use pgrx::pg_sys;

use crate::error::Error;
use crate::unguarded;

/// Days from the Julian epoch to 2000-01-01 (POSTGRES_EPOCH_JDATE in datatype/timestamp.h).
const EPOCH_JULIAN_DAY: i32 = 2_451_545;
const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

/// A date or a timestamp as it is written. Every one of every row goes through here: it takes no memory of its own.
pub struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: usize,
}

/// Of the farthest timestamp, which has a sign and six digits of a year.
const TEXT_BYTES_MAX: usize = "+294276-12-31T23:59:59.999999Z".len();

impl Text {
    fn of(text: &[u8]) -> Text {
        let mut out = Text { bytes: [0; TEXT_BYTES_MAX], length: 0 };
        out.push(text);
        out
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_else(|error| {
            Error::Internal(format!("a date's text can't be read: {error}")).report()
        })
    }
}

/// `YYYY-MM-DD` of days since 2000-01-01; infinities are Postgres's extreme values.
pub fn date_text(days: i32) -> Text {
    match days {
        i32::MIN => Text::of(b"-infinity"),
        i32::MAX => Text::of(b"infinity"),
        days => day_text(days),
    }
}

/// RFC 3339 with six fraction digits of microseconds since 2000-01-01, and a zone's suffix.
pub fn timestamp_text(microseconds: i64, zone: &str) -> Text {
    match microseconds {
        i64::MIN => return Text::of(b"-infinity"),
        i64::MAX => return Text::of(b"infinity"),
        _ => {}
    }
    let mut text = day_text(microseconds.div_euclid(MICROSECONDS_A_DAY) as i32);
    let rest = microseconds.rem_euclid(MICROSECONDS_A_DAY);
    let (seconds, fraction) = ((rest / 1_000_000) as u32, (rest % 1_000_000) as u32);
    let mut time = *b"T00:00:00.000000";
    put_digits(seconds / 3600, &mut time[1..3]);
    put_digits(seconds / 60 % 60, &mut time[4..6]);
    put_digits(seconds % 60, &mut time[7..9]);
    put_digits(fraction, &mut time[10..16]);
    text.push(&time);
    text.push(zone.as_bytes());
    text
}

/// What `date_text` says of years 1 to 9999, read again; `None` where only Postgres's own input function knows.
pub fn date_of(text: &str) -> Option<i32> {
    let [year, month, day] =
        numbers(text, [(0, 4, None), (5, 2, Some(b'-')), (8, 2, Some(b'-'))], 10)?;
    // SAFETY: pure arithmetic (utils/adt/datetime.c).
    let days = unsafe { pg_sys::date2j(year, month, day) } - EPOCH_JULIAN_DAY;
    // There is no 30th of February.
    (year > 0 && date_text(days).as_str() == text).then_some(days)
}

/// The same of `timestamp_text`.
pub fn timestamp_of(text: &str, zone: &str) -> Option<i64> {
    let text = text.strip_suffix(zone)?;
    let (date, time) = (text.get(..10)?, text.get(10..)?);
    let parts = [(1, 2, Some(b'T')), (4, 2, Some(b':')), (7, 2, Some(b':')), (10, 6, Some(b'.'))];
    let [hour, minute, second, fraction] = numbers(time, parts, 16)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    let of_day = seconds * 1_000_000 + i64::from(fraction);
    Some(i64::from(date_of(date)?) * MICROSECONDS_A_DAY + of_day)
}

/// Numbers in a text of a fixed length: where each begins, its digits, and what stands before it.
fn numbers<const N: usize>(
    text: &str,
    parts: [(usize, usize, Option<u8>); N],
    length: usize,
) -> Option<[i32; N]> {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    for ((first, digits, before), number) in parts.into_iter().zip(&mut out) {
        let is_there = before.is_none_or(|before| bytes.get(first - 1) == Some(&before));
        let part = bytes.get(first..first + digits)?;
        if !is_there || !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        *number = part.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    }
    (bytes.len() == length).then_some(out)
}

fn day_text(days: i32) -> Text {
    let (mut year, mut month, mut day) = (0i32, 0i32, 0i32);
    // SAFETY: pure arithmetic with three out parameters (utils/adt/datetime.c).
    unsafe { unguarded::j2date(days + EPOCH_JULIAN_DAY, &mut year, &mut month, &mut day) };
    let mut text = Text::of(match year {
        1..=9999 => b"",
        0.. => b"+",
        _ => b"-",
    });
    let mut date = *b"0000-00-00";
    let year = year.unsigned_abs();
    match year {
        ..=9999 => put_digits(year, &mut date[..4]),
        _ => text.push(year.to_string().as_bytes()),
    }
    put_digits(month as u32, &mut date[5..7]);
    put_digits(day as u32, &mut date[8..]);
    text.push(if year > 9999 { &date[4..] } else { &date });
    text
}

/// A number in as many digits as there is room for. `write!` takes several times as long.
#[inline(always)]
fn put_digits(number: u32, place: &mut [u8]) {
    let mut rest = number;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// What Postgres reads for an expanded year: no plus sign, and BC for years up to zero.
pub fn input_text(text: &str) -> String {
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') if text != "-infinity" => (-1, &text[1..]),
        _ => return text.to_owned(),
    };
    let (year, tail) = rest.split_once('-').unwrap_or((rest, ""));
    match (sign, year.parse::<i64>()) {
        (1, Ok(year)) if year > 0 => rest.to_owned(),
        (_, Ok(year)) => format!("{:04}-{tail} BC", year + 1),
        (_, Err(_)) => text.to_owned(),
    }
}
