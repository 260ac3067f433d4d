//! In charge of the last line: what says that a file is whole and, with a key, whose it is.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// As many bytes as the hash has; a shorter key would be the weaker part.
const KEY_BYTES_MIN: usize = 32;

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    pub records: u64,
    /// Over all lines before this one, each with its newline.
    pub sha256: String,
    /// The same under the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac_sha256: Option<String>,
}

/// Sees every line go by.
#[derive(Clone)]
pub struct Sealer {
    sha: Sha256,
    hmac: Option<Hmac<Sha256>>,
    pub records: u64,
}

impl Sealer {
    pub fn new(key_file: Option<&Path>) -> Result<Self, String> {
        let hmac = key_file.map(read_key).transpose()?;
        Ok(Sealer { sha: Sha256::new(), hmac, records: 0 })
    }

    pub fn line(&mut self, line: &[u8]) {
        self.sha.update(line);
        self.sha.update(b"\n");
        if let Some(hmac) = &mut self.hmac {
            hmac.update(line);
            hmac.update(b"\n");
        }
    }

    pub fn seal(self) -> Seal {
        Seal {
            records: self.records,
            sha256: hex::encode(self.sha.finalize()),
            hmac_sha256: self.hmac.map(|hmac| hex::encode(hmac.finalize().into_bytes())),
        }
    }

    /// Whether a seal is that of the lines that went by.
    pub fn check(self, seal: &Seal) -> Result<(), String> {
        if let Some(hmac) = self.hmac {
            let signature = seal.hmac_sha256.as_deref().ok_or("it is not signed")?;
            let signature = hex::decode(signature).map_err(|_| "its signature can't be read")?;
            hmac.verify_slice(&signature)
                .map_err(|_| "it was signed with another key, or changed since")?;
        }
        if hex::encode(self.sha.finalize()) != seal.sha256 || self.records != seal.records {
            return Err("it was changed since it was written: its checksum is another".into());
        }
        Ok(())
    }
}

fn read_key(path: &Path) -> Result<Hmac<Sha256>, String> {
    let name = path.display();
    let key = std::fs::read(path).map_err(|error| format!("{name} can't be read: {error}"))?;
    // An editor's newline at the end is no part of the key.
    let key = key.trim_ascii_end();
    if key.len() < KEY_BYTES_MIN {
        return Err(format!("{name}: a key has at least {KEY_BYTES_MIN} bytes"));
    }
    Hmac::new_from_slice(key).map_err(|error| format!("{name}: {error}"))
}
