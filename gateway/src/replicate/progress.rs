//! In charge of what is told while it goes on: a line that is written over on a terminal, else a line now
//! and then.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

pub struct Progress {
    label: String,
    terminal: bool,
    last: Instant,
}

impl Progress {
    pub fn new(label: String) -> Self {
        Progress { label, terminal: stderr().is_terminal(), last: Instant::now() }
    }

    /// Tells it if it is time to.
    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        let pause = if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        match self.terminal {
            true => self.write(&format!("\r\x1b[K{}: {}", self.label, text())),
            false => self.write(&format!("{}: {}\n", self.label, text())),
        }
    }

    /// Tells it in any case, on a line of its own.
    pub fn say(&mut self, text: &str) {
        let before = if self.terminal { "\r\x1b[K" } else { "" };
        self.write(&format!("{before}{}: {text}\n", self.label));
    }

    /// Where nobody can read it there is nobody to tell that.
    fn write(&self, text: &str) {
        let mut out = stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
