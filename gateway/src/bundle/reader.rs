//! In charge of reading the file: line by line, in bounded memory, and to its seal.

use revision::Record;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use super::seal::{Seal, Sealer};
use super::{FORMAT, Header, LINE_BYTES_MAX};
use crate::deep;

pub struct Reader {
    name: String,
    lines: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    sealer: Sealer,
    pub header: Header,
    /// The line that was read last. Only what comes after it tells whether it is the seal.
    ahead: Option<Vec<u8>>,
    number: u64,
}

impl Reader {
    /// Reads the file from its beginning, wherever the handle was.
    pub fn open(path: &Path, mut file: File, sealer: Sealer) -> Result<Self, String> {
        let name = path.display().to_string();
        file.rewind()
            .map_err(|error| format!("{name} can't be read from its beginning: {error}"))?;
        let decoder =
            zstd::Decoder::new(file).map_err(|error| format!("{name} can't be read: {error}"))?;
        let mut reader = Reader {
            name,
            lines: BufReader::new(decoder),
            sealer,
            header: Header {
                godwit_export: 0,
                software: String::new(),
                incarnation: String::new(),
                since: 0,
                until: 0,
                tables: Vec::new(),
            },
            ahead: None,
            number: 0,
        };
        let first = reader.line()?.ok_or_else(|| reader.refused("it is empty"))?;
        reader.header = reader.read_header(&first)?;
        reader.sealer.line(&first);
        reader.ahead = reader.line()?;
        Ok(reader)
    }

    fn read_header(&self, line: &[u8]) -> Result<Header, String> {
        #[derive(Deserialize)]
        struct Kind {
            godwit_export: u32,
        }
        let Kind { godwit_export } = serde_json::from_slice(line)
            .map_err(|_| self.refused("it is no file that godwit export has written"))?;
        if godwit_export != FORMAT {
            return Err(self.refused(&format!(
                "it is of format {godwit_export}, and this version reads {FORMAT}: use a newer godwit"
            )));
        }
        serde_json::from_slice(line)
            .map_err(|error| self.refused(&format!("its first line can't be read: {error}")))
    }

    /// The next record with the bytes that it takes; none after the last, when the seal has been checked.
    pub fn next(&mut self) -> Result<Option<(Record, usize)>, String> {
        let line =
            self.ahead.take().ok_or_else(|| self.refused("it ends without its last line"))?;
        self.ahead = self.line()?;
        if self.ahead.is_none() {
            let seal: Seal = serde_json::from_slice(&line).map_err(|_| {
                self.refused("it is cut off: what should be its last line isn't there")
            })?;
            let sealer = self.sealer.clone();
            return sealer.check(&seal).map(|()| None).map_err(|reason| self.refused(&reason));
        }
        self.sealer.line(&line);
        self.sealer.records += 1;
        let number = self.number - 1;
        let record: Record = deep::parse(&line)
            .map_err(|error| self.refused(&format!("line {number} is no record: {error}")))?;
        record.check().map_err(|error| self.refused(&format!("line {number}: {error}")))?;
        let known = record
            .table
            .as_ref()
            .is_some_and(|table| self.header.tables.iter().any(|known| known.name == *table));
        if !known || record.revision.is_none() {
            return Err(self
                .refused(&format!("line {number} names no table of the file's, or no revision")));
        }
        Ok(Some((record, line.len())))
    }

    /// The next line without its newline.
    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.lines).take(LINE_BYTES_MAX as u64 + 1);
        let read = bounded.read_until(b'\n', &mut line);
        read.map_err(|error| self.refused(&format!("it is damaged or cut off: {error}")))?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        match line.pop() {
            Some(b'\n') => Ok(Some(line)),
            _ if line.len() >= LINE_BYTES_MAX => {
                let reason = format!("line {} has more than {LINE_BYTES_MAX} bytes", self.number);
                Err(self.refused(&reason))
            }
            _ => Err(self.refused("it is cut off in the midst of a line")),
        }
    }

    fn refused(&self, reason: &str) -> String {
        format!("{}: {reason}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::writer::Writer;
    use std::fs;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("godwit-{}", uuid::Uuid::new_v4()));
            fs::create_dir(&folder).unwrap();
            Folder(folder)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn written(folder: &Folder, key: Option<&Path>) -> PathBuf {
        let table = serde_json::json!({"name": "cases", "columns": []});
        let header = Header {
            godwit_export: FORMAT,
            software: "test".into(),
            incarnation: "a".into(),
            since: 0,
            until: 9,
            tables: vec![serde_json::from_value(table).unwrap()],
        };
        let path = folder.0.join("out");
        let mut writer = Writer::create(&path, key, &header).unwrap();
        for n in 0..100 {
            let json =
                format!("{{\"id\": \"{n}\", \"table\": \"cases\", \"revision\": \"1-a{n}\"}}");
            writer.record(&serde_json::from_str(&json).unwrap()).unwrap();
        }
        assert!(!path.exists(), "it has its name before it is whole");
        assert_eq!(writer.finish().unwrap(), 100);
        path
    }

    fn read(path: &Path, key: Option<&Path>) -> Result<usize, String> {
        let file = File::open(path).unwrap();
        let mut reader = Reader::open(path, file, Sealer::new(key)?)?;
        let mut count = 0;
        while reader.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn what_was_written_is_read_and_every_cut_and_flipped_bit_is_refused() {
        let folder = Folder::new();
        let path = written(&folder, None);
        assert_eq!(read(&path, None), Ok(100));
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            let cut = folder.file("cut", &bytes[..length]);
            assert!(read(&cut, None).is_err(), "cut at {length}");
        }
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            let flipped = folder.file("flipped", &flipped);
            // A bit of zstd's own framing may mean nothing; then all is read as it was.
            assert!(matches!(read(&flipped, None), Err(_) | Ok(100)), "flipped at {place}");
        }
    }

    #[test]
    fn lines_that_are_left_out_or_put_in_are_refused() {
        let folder = Folder::new();
        let text = zstd::decode_all(File::open(written(&folder, None)).unwrap()).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let repacked = |lines: &[&[u8]]| {
            folder.file("repacked", &zstd::encode_all(&*lines.concat(), 1).unwrap())
        };
        assert_eq!(read(&repacked(&lines), None), Ok(100));
        let without = [&lines[..5], &lines[6..]].concat();
        assert!(read(&repacked(&without), None).unwrap_err().contains("checksum"));
        let twice = [&lines[..6], &lines[5..]].concat();
        assert!(read(&repacked(&twice), None).unwrap_err().contains("checksum"));
        let unsealed = &lines[..lines.len() - 1];
        assert!(read(&repacked(unsealed), None).unwrap_err().contains("cut off"));
        let two = [&lines[..], &lines[..]].concat();
        assert!(read(&repacked(&two), None).is_err());
        assert!(read(&folder.file("other", b"not ours"), None).is_err());
    }

    #[test]
    fn a_key_is_asked_for_and_must_fit() {
        let folder = Folder::new();
        let key = folder.file("key", &[b'k'; 32]);
        let with_newline = folder.file("newline", &[&[b'k'; 32][..], b"\n"].concat());
        let other = folder.file("another", &[b'o'; 32]);
        let short = folder.file("short", b"short");
        let signed = written(&folder, Some(&key));
        assert_eq!(read(&signed, Some(&key)), Ok(100));
        assert_eq!(read(&signed, Some(&with_newline)), Ok(100));
        assert_eq!(read(&signed, None), Ok(100), "its checksum can be checked by anybody");
        assert!(read(&signed, Some(&other)).unwrap_err().contains("another key"));
        assert!(read(&signed, Some(&short)).unwrap_err().contains("32 bytes"));
        let apart = Folder::new();
        let unsigned = written(&apart, None);
        assert!(read(&unsigned, Some(&key)).unwrap_err().contains("not signed"));
    }
}
