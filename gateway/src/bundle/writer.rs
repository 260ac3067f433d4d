//! In charge of writing the file: under another name until it is whole and on the disk.

use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Header;
use super::seal::Sealer;
use revision::Record;

/// zstd's own default: records shrink to a tenth, at hundreds of megabytes a second.
const LEVEL: i32 = 3;

pub struct Writer {
    file: PathBuf,
    part: PathBuf,
    out: zstd::Encoder<'static, File>,
    sealer: Sealer,
    is_whole: bool,
}

impl Writer {
    pub fn create(file: &Path, key_file: Option<&Path>, header: &Header) -> Result<Self, String> {
        let sealer = Sealer::new(key_file)?;
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let made = File::create(&part).and_then(|file| zstd::Encoder::new(file, LEVEL));
        let out = made.map_err(|error| format!("{} can't be written: {error}", part.display()))?;
        let file = file.to_owned();
        let mut writer = Writer { file, part, out, sealer, is_whole: false };
        writer.line(header)?;
        Ok(writer)
    }

    pub fn record(&mut self, record: &Record) -> Result<(), String> {
        self.sealer.records += 1;
        self.line(record)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), String> {
        let bytes = serde_json::to_vec(line)
            .map_err(|error| format!("a line of the file can't be written: {error}"))?;
        self.sealer.line(&bytes);
        self.write(&bytes)
    }

    fn write(&mut self, line: &[u8]) -> Result<(), String> {
        let written = self.out.write_all(line).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("{} can't be written: {error}", self.part.display())
    }

    /// Seals the file and gives it its name; how many records it has.
    pub fn finish(mut self) -> Result<u64, String> {
        let seal = self.sealer.clone().seal();
        let line = serde_json::to_vec(&seal)
            .map_err(|error| format!("the file's last line can't be written: {error}"))?;
        self.write(&line)?;
        let finished = self.out.do_finish().and_then(|()| self.out.get_ref().sync_all());
        let named = finished.and_then(|()| fs::rename(&self.part, &self.file));
        named.map_err(|error| self.failed(&error))?;
        self.is_whole = true;
        // The name as well; where a folder can't be opened so, it is the system's to write.
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
            folder.sync_all().map_err(|error| self.failed(&error))?;
        }
        Ok(seal.records)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_whole
            && let Err(error) = fs::remove_file(&self.part)
        {
            tracing::warn!(%error, file = %self.part.display(), "what was begun can't be removed");
        }
    }
}
