//! In charge of one open feed, with as little memory as can be: the client's shouldn't hide the gateway's.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::Fault;

pub struct Feed {
    stream: BufReader<TcpStream>,
    /// Bytes left of the chunk that is being read.
    left: usize,
    line: Vec<u8>,
    pub bytes: u64,
}

impl Feed {
    pub async fn open(address: &str, path: &str) -> Result<Feed, Fault> {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut feed = Feed {
            stream: BufReader::with_capacity(4096, stream),
            left: 0,
            line: Vec::new(),
            bytes: 0,
        };
        let mut head = String::new();
        feed.stream.read_line(&mut head).await?;
        if !head.contains(" 200 ") {
            return Err(format!("{path}: {head}").into());
        }
        while head != "\r\n" {
            head.clear();
            feed.stream.read_line(&mut head).await?;
        }
        Ok(feed)
    }

    /// The next line of the body, or nothing at its end.
    pub async fn line(&mut self) -> Result<Option<&[u8]>, Fault> {
        self.line.clear();
        loop {
            if self.left == 0 && !self.begin_chunk().await? {
                return Ok(None);
            }
            let buffer = self.stream.fill_buf().await?;
            if buffer.is_empty() {
                return Err("the feed broke off".into());
            }
            let reach = &buffer[..buffer.len().min(self.left)];
            let end = reach.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(reach.len(), |end| end + 1);
            self.line.extend_from_slice(&reach[..taken]);
            self.stream.consume(taken);
            self.left -= taken;
            self.bytes += taken as u64;
            if self.left == 0 {
                self.stream.read_exact(&mut [0; 2]).await?;
            }
            if end.is_some() {
                return Ok(Some(&self.line));
            }
        }
    }

    async fn begin_chunk(&mut self) -> Result<bool, Fault> {
        let mut size = String::new();
        self.stream.read_line(&mut size).await?;
        self.left = usize::from_str_radix(size.trim(), 16)?;
        Ok(self.left > 0)
    }
}
