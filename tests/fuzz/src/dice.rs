//! In charge of chance: one seeded generator, asked in a few words.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u32) -> bool {
        self.0.random_range(0..times) == 0
    }

    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.0.random_range(0..end) }
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// The token of a revision that some other system made.
    pub fn token(&mut self) -> String {
        format!("{:x}", self.0.random_range(0..1u32 << 16))
    }
}
