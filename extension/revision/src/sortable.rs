//! In charge of revision ids as bytes that sort as revisions do (docs/canonical.md section 6): what a database column
//! stores. It is shorter than the text, since nearly every token is 32 hex digits, of which each takes four bits or
//! five. Whoever compares bytes needs to know nothing of it.
//!
//! A token's characters are written by an alphabetic code (Hu and Tucker, 1971): a prefix code in the order of the
//! characters, so codes one after the other compare as what they stand for. The last byte is filled up with zeros. No
//! code is of zeros alone, so those are no character, and what ends sorts before what goes on.

use crate::id::{
    self, GENERATION_MAX, REVISION_BYTES_MAX, RevisionId, RevisionIdError, TOKEN_AT,
    TOKEN_BYTES_MAX,
};

/// The first byte is a generation and this much more, up to the greatest that it can be. Versions that were never
/// released have less there, and tokens as text.
const GENERATION_BASE: u8 = 15;
const SHORT_MAX: u8 = 224;
const FIRST: u8 = GENERATION_BASE + 1;
/// For a longer generation, the first byte is how many bytes it takes and this much more.
const LENGTH_BASE: u8 = GENERATION_BASE + SHORT_MAX;
const GENERATION_BYTES_MAX: u8 = 7;
/// The codes that have one character; the other three begin those of several.
const BEFORE_DIGITS: u64 = 0b00000;
const BETWEEN: u64 = 0b10011;
const AFTER_DIGITS: u64 = 0b11111;
/// What follows these three: the bits, and the character that none of them set stands for.
const AFTER_BEFORE_DIGITS: (u32, u8) = (4, b' ');
const AFTER_BETWEEN: (u32, u8) = (6, b':');
const AFTER_AFTER_DIGITS: (u32, u8) = (5, b'g');

/// Each character's code and how many bits it has; none where a token may not hold it.
const CODES: [(u16, u8); 128] = {
    let mut codes = [(0, 0); 128];
    let mut at = 0;
    while at < codes.len() {
        if RevisionId::may_hold(at as u8) {
            codes[at] = code(at as u8);
        }
        at += 1;
    }
    codes
};

const fn code(character: u8) -> (u16, u8) {
    let (first, (bits, zero)) = match character {
        b'0' => return (0b00001, 5),
        b'1'..=b'8' => return ((character - b'0') as u16, 4),
        b'9' => return (0b10010, 5),
        b'a'..=b'e' => return ((character - b'a') as u16 + 10, 4),
        b'f' => return (0b11110, 5),
        0..b'0' => (BEFORE_DIGITS, AFTER_BEFORE_DIGITS),
        b':'..b'a' => (BETWEEN, AFTER_BETWEEN),
        b'g'.. => (AFTER_DIGITS, AFTER_AFTER_DIGITS),
    };
    ((first << bits) as u16 | (character - zero) as u16, 5 + bits as u8)
}

/// By the next five bits: the character and how many of them it takes; none where others follow.
const DIGITS: [(u8, u32); 32] = {
    let mut digits = [(0, 0); 32];
    let (mut at, hex) = (0, b"0123456789abcdef");
    while at < hex.len() {
        let (code, bits) = code(hex[at]);
        let first = (code << (5 - bits)) as usize;
        digits[first] = (hex[at], bits as u32);
        digits[first + 5 - bits as usize] = digits[first];
        at += 1;
    }
    digits
};

/// By the next ten bits: two hex digits and how many bits they take; none where there is another character.
static PAIRS: [([u8; 2], u32); 1 << PAIR_BITS] = {
    let mut pairs = [([0; 2], 0); 1 << PAIR_BITS];
    let mut window = 0;
    while window < pairs.len() {
        let (first, bits) = DIGITS[window >> 5];
        let (second, more) = DIGITS[window >> (5 - bits) & 0b11111];
        if bits > 0 && more > 0 {
            pairs[window] = ([first, second], bits + more);
        }
        window += 1;
    }
    pairs
};
const PAIR_BITS: u32 = 10;

impl RevisionId {
    pub fn to_sortable(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10 + self.token().len());
        if self.generation() <= SHORT_MAX.into() {
            out.push(GENERATION_BASE + self.generation() as u8);
        } else {
            let number = self.generation().to_be_bytes();
            let skipped = self.generation().leading_zeros() as usize / 8;
            out.push(LENGTH_BASE + (8 - skipped) as u8);
            out.extend_from_slice(&number[skipped..]);
        }
        let (mut window, mut waiting) = (0u64, 0);
        for character in self.token().bytes() {
            let (code, bits) = CODES[usize::from(character & 0x7f)];
            window = window << bits | u64::from(code);
            waiting += u32::from(bits);
            if waiting >= 32 {
                waiting -= 32;
                out.extend_from_slice(&((window >> waiting) as u32).to_be_bytes());
            }
        }
        let last = (window << (32 - waiting)) as u32;
        out.extend_from_slice(&last.to_be_bytes()[..waiting.div_ceil(8) as usize]);
        out
    }

    pub fn from_sortable(bytes: &[u8]) -> Result<Self, RevisionIdError> {
        let (generation, codes) = generation(bytes)?;
        let mut token = [0; TOKEN_BYTES_MAX];
        let length = decoded(codes, &mut token).ok_or(RevisionIdError::Sortable)?;
        let token = std::str::from_utf8(&token[..length]).map_err(|_| RevisionIdError::Sortable)?;
        Ok(RevisionId::of_parts(generation, token))
    }

    /// Whether bytes in sortable form are of a first version.
    pub fn is_first_sortable(bytes: &[u8]) -> bool {
        bytes.first() == Some(&FIRST)
    }

    /// The first byte of ids of a generation in sortable form, where it alone says the generation.
    pub fn sortable_first(generation: u64) -> Option<u8> {
        (1..=SHORT_MAX.into()).contains(&generation).then(|| GENERATION_BASE + generation as u8)
    }

    /// The generation of an id in sortable form.
    pub fn sortable_generation(bytes: &[u8]) -> Result<u64, RevisionIdError> {
        generation(bytes).map(|(generation, _)| generation)
    }

    /// The text of an id in sortable form.
    pub fn sortable_text<'a>(
        bytes: &[u8],
        text: &'a mut [u8; REVISION_BYTES_MAX],
    ) -> Result<&'a [u8], RevisionIdError> {
        let (generation, codes) = generation(bytes)?;
        let first = id::write_generation(generation, text);
        let length = decoded(codes, &mut text[TOKEN_AT..]).ok_or(RevisionIdError::Sortable)?;
        Ok(&text[first..TOKEN_AT + length])
    }
}

/// The generation, and what follows it.
fn generation(bytes: &[u8]) -> Result<(u64, &[u8]), RevisionIdError> {
    let (&first, rest) = bytes.split_first().ok_or(RevisionIdError::Sortable)?;
    match first {
        0 | GENERATION_BASE => Err(RevisionIdError::Sortable),
        1..GENERATION_BASE => Err(RevisionIdError::Unreleased),
        FIRST..=LENGTH_BASE => Ok((u64::from(first - GENERATION_BASE), rest)),
        _ => {
            let length = first - LENGTH_BASE;
            let is_length = (1..=GENERATION_BYTES_MAX).contains(&length);
            let (number, rest) = rest
                .split_at_checked(length.into())
                .filter(|(number, _)| is_length && number[0] != 0)
                .ok_or(RevisionIdError::Sortable)?;
            let generation = number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            match (u64::from(SHORT_MAX) + 1..=GENERATION_MAX).contains(&generation) {
                true => Ok((generation, rest)),
                false => Err(RevisionIdError::Sortable),
            }
        }
    }
}

/// How many characters these codes are, at least one.
fn decoded(mut codes: &[u8], token: &mut [u8]) -> Option<usize> {
    // What was read and not taken yet, from the highest bit on.
    let (mut window, mut there, mut length) = (0u64, 0, 0);
    loop {
        if there < 32
            && let Some((four, rest)) = codes.split_first_chunk()
        {
            window |= u64::from(u32::from_be_bytes(*four)) << (32 - there);
            (codes, there) = (rest, there + 32);
        }
        while there < 32
            && let Some((byte, rest)) = codes.split_first()
        {
            window |= u64::from(*byte) << (u64::BITS - 8 - there);
            (codes, there) = (rest, there + 8);
        }
        if window == 0 && there < 8 {
            return (length > 0).then_some(length);
        }
        let before = length;
        while there >= PAIR_BITS
            && let (pair, bits @ 1..) = PAIRS[(window >> (u64::BITS - PAIR_BITS)) as usize]
            && let Some(place) = token.get_mut(length..length + 2)
        {
            place.copy_from_slice(&pair);
            (window, there, length) = (window << bits, there - bits, length + 2);
        }
        if length > before {
            continue;
        }
        let five = window >> (u64::BITS - 5);
        let (character, bits) = match DIGITS[five as usize] {
            (_, 0) => other(five, window)?,
            digit => digit,
        };
        there = there.checked_sub(bits)?;
        window <<= bits;
        *token.get_mut(length)? = character;
        length += 1;
    }
}

/// A character that is no hex digit.
fn other(first: u64, window: u64) -> Option<(u8, u32)> {
    let (bits, zero) = match first {
        BEFORE_DIGITS => AFTER_BEFORE_DIGITS,
        BETWEEN => AFTER_BETWEEN,
        _ => AFTER_AFTER_DIGITS,
    };
    let rest = window << 5 >> (u64::BITS - bits);
    let character = zero.checked_add(u8::try_from(rest).ok()?)?;
    let is_other = u32::from(CODES.get(usize::from(character))?.1) == 5 + bits;
    is_other.then_some((character, 5 + bits))
}
