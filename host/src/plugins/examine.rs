//! Examine: reads the files of one plugin and asks the host what the component is.
//!
//! Before it: [`super::scan`] found the files at rest. After it: [`super::scan`] judges what they say.
//!
//! Invariant: the bytes that are handed on are those of one file that did not change while it was
//! read. Their stamp is compared before and after; a difference is [`WasmFound::Moving`].

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::component_file::{Shape, shape};
use super::facts::{Findings, Pair, SidecarFound, WasmFound};
use super::host::Host;
use super::listing;
use super::sidecar::{Sidecar, SidecarError};
use super::track::Seen;
use crate::component::code::Code;

/// Reads what lies in `directory` for `plugin`, expected as `pair`; of the component only if `wasm`.
///
/// Also gives the code, if it was read. Dropping the future has no effect but lost work.
pub(crate) async fn examine<H: Host>(
    host: &H,
    directory: &Path,
    plugin: &str,
    pair: Pair,
    wasm: bool,
    bytes_max: u64,
) -> (Findings, Option<Code>) {
    let component = directory.join(format!("{plugin}.wasm"));
    let sidecar = directory.join(format!("{plugin}.toml"));
    let expected = pair.clone();
    let read = tokio::task::spawn_blocking(move || {
        let sidecar = match read_sidecar(&sidecar, expected.sidecar.as_ref()) {
            Ok(sidecar) => sidecar,
            Err(trouble) => return (None, Err(trouble)),
        };
        match wasm {
            false => (sidecar, Ok(None)),
            true => match read_component(&component, expected.wasm.as_ref(), bytes_max) {
                Ok(code) => (sidecar, Ok(Some(code))),
                Err(trouble) => (sidecar, Err(trouble)),
            },
        }
    });
    // The reader neither panics nor is aborted, except when the runtime itself ends.
    let (sidecar, read) = match read.await {
        Ok(read) => read,
        Err(error) => (None, Err(WasmFound::Unreadable(error.to_string()))),
    };
    let (found, code) = match read {
        Err(trouble) => (trouble, None),
        Ok(None) => (WasmFound::AsRunning, None),
        Ok(Some(code)) => (inspect(host, &code).await, Some(code)),
    };
    let findings = Findings {
        pair,
        wasm: found,
        sidecar,
    };
    (findings, code)
}

/// Says what `code` is: by its shape, then by asking the host.
pub(crate) async fn inspect<H: Host>(host: &H, code: &Code) -> WasmFound {
    let shape = shape(code.bytes());
    let about = match shape {
        Shape::Whole => match host.inspect(code).await {
            Ok(metadata) => Ok((metadata.name, metadata.version)),
            Err(error) => Err(error.to_string()),
        },
        Shape::Cut => Err(format!(
            "the file ends in the middle of a component, after {} bytes; copy it again",
            code.bytes().len()
        )),
        Shape::Foreign => {
            Err("not a WebAssembly component; build it with `--target wasm32-wasip2`".to_owned())
        }
    };
    WasmFound::Read {
        digest: code.digest().to_owned(),
        shape,
        about,
    }
}

/// Reads the sidecar as it lies there, for bytes that did not come from a file.
pub(crate) fn read_sidecar_now(path: &Path) -> (Option<Seen>, SidecarFound) {
    let seen = listing::seen(path);
    match read_sidecar(path, seen.as_ref()) {
        Ok(sidecar) => (seen, sidecar),
        Err(_) => (seen, Some(unreadable("it changes right now; try again"))),
    }
}

/// A sidecar that cannot be read is a wrong sidecar; one that moves is no finding at all.
fn read_sidecar(path: &Path, expected: Option<&Seen>) -> Result<SidecarFound, WasmFound> {
    match (listing::seen(path), expected) {
        (None, None) => return Ok(None),
        (now, expected) if now.as_ref() != expected => return Err(WasmFound::Moving),
        _ => {}
    }
    let bytes = match read_still(path, expected, Sidecar::BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(ReadTrouble::Moving) => return Err(WasmFound::Moving),
        Err(ReadTrouble::TooLarge) => {
            let limit = Sidecar::BYTES_MAX;
            let digest = "too large".to_owned();
            return Ok(Some((digest, Err(SidecarError::TooLarge { limit }))));
        }
        Err(ReadTrouble::Io(error)) => return Ok(Some(unreadable(&error.to_string()))),
    };
    let digest = hex(&Sha256::digest(&bytes));
    let parsed = match std::str::from_utf8(&bytes) {
        Ok(text) => Sidecar::parse(text),
        Err(error) => Err(SidecarError::Unreadable {
            reason: format!("not UTF-8 from byte {}", error.valid_up_to()),
        }),
    };
    Ok(Some((digest, parsed)))
}

/// The reason stands in for the digest, so that another reason is another content.
fn unreadable(reason: &str) -> (String, Result<Sidecar, SidecarError>) {
    let reason = reason.to_owned();
    (reason.clone(), Err(SidecarError::Unreadable { reason }))
}

fn read_component(path: &Path, expected: Option<&Seen>, limit: u64) -> Result<Code, WasmFound> {
    match read_still(path, expected, limit) {
        Ok(bytes) => Ok(Code::from_bytes(bytes)),
        Err(ReadTrouble::Moving) => Err(WasmFound::Moving),
        Err(ReadTrouble::TooLarge) => Err(WasmFound::Refused(format!(
            "the file is larger than the limit of {limit} bytes (`file_bytes_max`)"
        ))),
        Err(ReadTrouble::Io(error)) => {
            let reason = format!("the file cannot be read: {error}");
            Err(WasmFound::Unreadable(reason))
        }
    }
}

enum ReadTrouble {
    Moving,
    TooLarge,
    Io(std::io::Error),
}

/// Reads a file whole, if it is `expected` before and after.
fn read_still(path: &Path, expected: Option<&Seen>, limit: u64) -> Result<Vec<u8>, ReadTrouble> {
    let still = |file: &File| {
        let metadata = file.metadata().map_err(ReadTrouble::Io)?;
        match Some(&Seen::File(listing::stamp(&metadata))) == expected {
            true => Ok(metadata.len()),
            false => Err(ReadTrouble::Moving),
        }
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(ReadTrouble::Moving),
        Err(error) => return Err(ReadTrouble::Io(error)),
    };
    let size = still(&file)?;
    if size > limit {
        return Err(ReadTrouble::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    (&mut file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(ReadTrouble::Io)?;
    // A file that grows or is rewritten meanwhile shows it in size or time.
    if still(&file)? != bytes.len() as u64 {
        return Err(ReadTrouble::Moving);
    }
    Ok(bytes)
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two files of the same size, written one after the other, differ in their inode alone.
    #[test]
    fn another_file_than_the_expected_one_is_moving() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        std::fs::write(&old, "[config]").unwrap();
        let seen = listing::seen(&old);
        std::fs::write(&new, "[limits]").unwrap();
        assert!(read_component(&old, seen.as_ref(), 100).is_ok());
        assert!(matches!(
            read_sidecar(&old, seen.as_ref()),
            Ok(Some((_, Ok(_))))
        ));
        std::fs::rename(&new, &old).unwrap();
        let read = read_component(&old, seen.as_ref(), 100);
        assert!(matches!(read, Err(WasmFound::Moving)));
        assert!(matches!(
            read_sidecar(&old, seen.as_ref()),
            Err(WasmFound::Moving)
        ));
        std::fs::remove_file(&old).unwrap();
        let read = read_component(&old, seen.as_ref(), 100);
        assert!(matches!(read, Err(WasmFound::Moving)));
    }

    /// A writer that went on after the look.
    #[test]
    fn a_file_that_grew_since_the_look_is_moving() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.wasm");
        std::fs::write(&path, "start").unwrap();
        let seen = listing::seen(&path);
        std::fs::write(&path, "start and end").unwrap();
        let read = read_still(&path, seen.as_ref(), 100);
        assert!(matches!(read, Err(ReadTrouble::Moving)));
    }

    #[test]
    fn a_sidecar_that_is_no_text_is_refused_with_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, b"ab\xff").unwrap();
        let (_, found) = read_sidecar_now(&path);
        let error = found.unwrap().1.unwrap_err().to_string();
        assert!(error.contains("not UTF-8 from byte 2"), "{error}");
    }
}
