//! Corpus: the lines of all files below a folder, as a stream.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The longest line that is sent whole. A longer one is cut, and the cut becomes a line end, both
/// in what is sent and in what `wc` reads.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The folder with the sources of all crates that cargo has unpacked here.
///
/// # Errors
/// There is none.
pub fn registry_sources() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.context("neither CARGO_HOME nor HOME is set")?;
    let sources = sources.join("registry/src");
    if !sources.is_dir() {
        bail!(
            "{} is not there; name a folder with INPUT=DIR",
            sources.display()
        );
    }
    Ok(sources)
}

/// The lines of all files below a folder, in the order of their paths. Reads one piece at a time.
pub struct Lines {
    /// What is still to be read, last first.
    todo: Vec<PathBuf>,
    open: Option<BufReader<File>>,
}

impl Lines {
    /// Begins with the first file.
    pub fn below(folder: &Path) -> Self {
        Self {
            todo: vec![folder.to_owned()],
            open: None,
        }
    }

    /// Puts the next line into `line`, without its end. False after the last one.
    ///
    /// Files that cannot be read are told of and left out.
    ///
    /// # Errors
    /// None today; a reader may have some.
    pub fn next(&mut self, line: &mut Vec<u8>) -> anyhow::Result<bool> {
        loop {
            if let Some(open) = &mut self.open {
                if read_line(open, line).unwrap_or(false) {
                    return Ok(true);
                }
                self.open = None;
            }
            let Some(path) = self.todo.pop() else {
                return Ok(false);
            };
            self.enter(&path);
        }
    }

    fn enter(&mut self, path: &Path) {
        // Not followed: a link to a folder above would never end.
        let Ok(kind) = path.symlink_metadata() else {
            eprintln!("left out, cannot be read: {}", path.display());
            return;
        };
        if kind.is_dir() {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            entries.sort_by(|a, b| b.cmp(a));
            self.todo.extend(entries);
        } else if kind.is_file() {
            match File::open(path) {
                Ok(file) => self.open = Some(BufReader::with_capacity(1 << 16, file)),
                Err(error) => eprintln!("left out: {}: {error}", path.display()),
            }
        }
    }
}

fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let room = LINE_BYTES_MAX - line.len();
        let end = buffer.iter().take(room).position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffer.len().min(room));
        line.extend(buffer.iter().take(taken));
        file.consume(taken + usize::from(end.is_some()));
        if end.is_some() || line.len() == LINE_BYTES_MAX {
            return Ok(true);
        }
    }
}
