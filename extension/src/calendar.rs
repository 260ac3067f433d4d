//! In charge of dates and timestamps as text: Postgres's day and microsecond counts to the wire's
//! ISO 8601 and RFC 3339, and the wire's text to what Postgres's input functions read.

use pgrx::pg_sys;

/// Days from the Julian epoch to 2000-01-01 (POSTGRES_EPOCH_JDATE in datatype/timestamp.h).
const EPOCH_JULIAN_DAY: i32 = 2_451_545;
const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

/// `YYYY-MM-DD` of days since 2000-01-01; infinities are Postgres's extreme values.
pub fn date_text(days: i32) -> String {
    match days {
        i32::MIN => "-infinity".into(),
        i32::MAX => "infinity".into(),
        days => {
            let mut text = String::with_capacity(10);
            push_day(&mut text, days);
            text
        }
    }
}

/// RFC 3339 with six fraction digits of microseconds since 2000-01-01, and a zone's suffix.
pub fn timestamp_text(microseconds: i64, zone: &str) -> String {
    match microseconds {
        i64::MIN => "-infinity".into(),
        i64::MAX => "infinity".into(),
        _ => {
            let days = microseconds.div_euclid(MICROSECONDS_A_DAY);
            let rest = microseconds.rem_euclid(MICROSECONDS_A_DAY);
            let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let mut text = String::with_capacity(27);
            push_day(&mut text, days as i32);
            for (before, number, width) in
                [('T', hours, 2), (':', minutes, 2), (':', seconds % 60, 2), ('.', fraction, 6)]
            {
                text.push(before);
                push_digits(&mut text, number as u64, width);
            }
            text.push_str(zone);
            text
        }
    }
}

fn push_day(text: &mut String, days: i32) {
    let (mut year, mut month, mut day) = (0i32, 0i32, 0i32);
    // SAFETY: pure arithmetic with three out parameters (utils/adt/datetime.c).
    unsafe { pg_sys::j2date(days + EPOCH_JULIAN_DAY, &mut year, &mut month, &mut day) };
    match year {
        1..=9999 => {}
        0.. => text.push('+'),
        _ => text.push('-'),
    }
    push_digits(text, year.unsigned_abs().into(), 4);
    for part in [month, day] {
        text.push('-');
        push_digits(text, part as u64, 2);
    }
}

/// At least so many digits. Every date of every row goes through here: `write!` takes several times as long.
fn push_digits(text: &mut String, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut from = digits.len();
    while number > 0 {
        from -= 1;
        digits[from] += (number % 10) as u8;
        number /= 10;
    }
    let from = from.min(digits.len() - width);
    text.extend(digits[from..].iter().map(|digit| char::from(*digit)));
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
