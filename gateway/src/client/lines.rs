//! In charge of an answer that comes line by line: one line at a time, bounded in bytes and in silence.

use reqwest::Response;
use std::time::Duration;

use super::Error;
use super::request::unreachable;

pub struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// Where the buffer's first unread line begins.
    start: usize,
    silence_max: Duration,
    bytes_max: usize,
}

impl Lines {
    pub fn of(response: Response, silence_max: Duration, bytes_max: usize) -> Self {
        Lines { response, buffer: Vec::new(), start: 0, silence_max, bytes_max }
    }

    /// The next line without its newline; none at the end. What has no newline is no line: the answer was cut.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut searched = self.start;
        loop {
            if let Some(place) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let end = searched + place;
                let line = self.buffer[self.start..end].to_vec();
                self.start = end + 1;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            searched = self.buffer.len();
            let chunk = tokio::time::timeout(self.silence_max, self.response.chunk()).await;
            let chunk = chunk
                .map_err(|_| Error::Unreachable("the answer stopped on its way".into()))?
                .map_err(unreachable)?;
            let Some(chunk) = chunk else { return Ok(None) };
            if self.buffer.len() + chunk.len() > self.bytes_max {
                return Err(Error::LongAnswer { bytes_max: self.bytes_max });
            }
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
