//! Counts: lines, words and bytes, and a second way to count them: `find`, `cat`, `sed` and `wc`.
//!
//! What `wc -w` takes for a word depends, for bytes that are not printable ASCII, on its version and the
//! locale; so `tr` makes a letter of each of them first, which leaves white space alone.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// What `wc` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ends of lines.
    pub lines: u64,
    /// What stands between white space.
    pub words: u64,
    /// All of it.
    pub bytes: u64,
}

impl Counts {
    /// The first three numbers of a text, what stands between them aside: `1 2 3`, `1 lines, 2 words, ...`.
    ///
    /// # Errors
    /// There are fewer.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        match numbers.take(3).collect::<Vec<u64>>()[..] {
            [lines, words, bytes] => Ok(Self {
                lines,
                words,
                bytes,
            }),
            _ => anyhow::bail!("expected lines, words and bytes, found {text:?}"),
        }
    }
}

/// Lines, words and bytes of all files below a folder.
///
/// # Errors
/// One of the programs fails.
pub fn wc(folder: &Path) -> anyhow::Result<Counts> {
    // A file need not end with a newline; `sed` sees to it that its last word is not joined with the
    // first of the next file.
    let script = r#"
        lines_and_bytes=$(find "$0" -type f -print0 | xargs -0 cat | wc -lc) &&
        words=$(find "$0" -type f -print0 | xargs -0 sed -s '$a\' |
            tr '\000-\010\016-\037\177-\377' '[x*]' | wc -w) &&
        set -- $lines_and_bytes && echo $1 $words $2"#;
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(folder)
        .env("LC_ALL", "C")
        .output()
        .context("run `wc`")?;
    anyhow::ensure!(output.status.success(), "`wc` ended with {}", output.status);
    Counts::parse(&String::from_utf8_lossy(&output.stdout))
}
