//! `instar swap`: replaces the code of one endpoint, or of several together, or only tries it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Admin;
use super::exit::{BadInput, WouldNotSwap};
use super::manage::{spinner, swapped};
use super::output::Output;
use super::rehearsal;
use crate::address::check_endpoint_name;
use crate::admin::api::{Swapped, TOGETHER_MAX};
use crate::admin::client::AdminClient;
use crate::component::code::Code;
use crate::endpoint::rehearsal::Rehearsal;

/// Replace the code of one endpoint, or of several together, while they work.
///
/// If an endpoint comes from a plugin directory, the file there is replaced as well. Several endpoints,
/// each as NAME=FILE, stand still together and are replaced all or none.
#[derive(Args)]
#[command(
    override_usage = "instar swap [OPTIONS] NAME FILE\n       instar swap [OPTIONS] NAME=FILE..."
)]
pub(super) struct Swap {
    /// The endpoint and its component, or endpoints and components as NAME=FILE.
    #[arg(value_name = "NAME FILE", required = true, num_args = 1..)]
    what: Vec<OsString>,
    /// Only try it: replay the last messages to a copy of the running version and to the new one, and
    /// print what would differ. Nothing is changed.
    #[arg(long)]
    dry_run: bool,
    /// End what does not end within the limit `drain`, instead of giving the swap up: `async` handlers,
    /// or the running turn, which is a crash then. One endpoint only.
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
    #[command(flatten)]
    admin: Admin,
}

impl Swap {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let targets = targets(&self.what)?;
        let read = |(name, file): &(String, PathBuf)| Ok((name.clone(), Code::from_file(file)?));
        let swaps: Vec<(String, Code)> = targets.iter().map(read).collect::<anyhow::Result<_>>()?;
        let client = self.admin.client()?;
        if self.dry_run {
            return dry_run(&client, &swaps, output);
        }
        if let [(name, code)] = swaps.as_slice() {
            let working = spinner(&format!("swapping `{name}`"));
            let record = client.swap(name, code.bytes(), self.force);
            working.finish_and_clear();
            return output.print(&record?, swapped);
        }
        if self.force {
            let reason = "--force takes one endpoint: several flip together or not at all";
            return Err(BadInput(reason.to_owned()).into());
        }
        let working = spinner(&format!("swapping {} endpoints together", swaps.len()));
        let components: Vec<(&str, &[u8])> = swaps
            .iter()
            .map(|(name, code)| (name.as_str(), &code.bytes()[..]))
            .collect();
        let all = client.swap_together(&components);
        working.finish_and_clear();
        output.print(&all?, |all| together(all))
    }
}

fn together(all: &[Swapped]) -> String {
    let line = |one: &Swapped| format!("`{}` {}", one.endpoint, swapped(&one.record));
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Each is tried by itself. One that would fail does not keep the others from being tried.
fn dry_run(client: &AdminClient, swaps: &[(String, Code)], output: Output) -> anyhow::Result<()> {
    let mut all: Vec<Rehearsal> = Vec::new();
    for (name, code) in swaps {
        let working = spinner(&format!("rehearsing `{name}`"));
        let found = client.rehearse(name, code.bytes());
        working.finish_and_clear();
        all.push(found?);
    }
    match all.as_slice() {
        [one] => output.print(one, rehearsal::text)?,
        all => output.print(&all, |all| {
            let texts: Vec<_> = all.iter().map(rehearsal::text).collect();
            texts.join("\n\n")
        })?,
    }
    match all.iter().find_map(would_not_swap) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// A dry run ends as the swap would.
fn would_not_swap(found: &Rehearsal) -> Option<WouldNotSwap> {
    let endpoint = found.endpoint.clone();
    match (&found.failure, found.wants.as_slice()) {
        (Some(_), _) => Some(WouldNotSwap::Fail { endpoint }),
        (None, [_, ..]) => Some(WouldNotSwap::Wait { endpoint }),
        (None, []) => None,
    }
}

/// What is to be swapped to what: `NAME FILE`, or `NAME=FILE` once or more. A name has no `=`, so the
/// first word tells which of both it is.
fn targets(words: &[OsString]) -> Result<Vec<(String, PathBuf)>, BadInput> {
    const EXPECTED: &str = "expected NAME FILE, or NAME=FILE once or more";
    let shown = |word: &OsString| format!("`{}`", word.to_string_lossy());
    if let [name, file] = words
        && pair(name).is_none()
    {
        if pair(file).is_some() && !Path::new(file).exists() {
            return Err(BadInput(format!(
                "{EXPECTED}; found {} and {}: write {}=FILE for both to be swapped together",
                shown(name),
                shown(file),
                name.to_string_lossy()
            )));
        }
        return Ok(vec![(name_of(name)?, file.into())]);
    }
    let mut targets: Vec<(String, PathBuf)> = Vec::new();
    for word in words {
        let Some((name, file)) = pair(word) else {
            let words: Vec<_> = words.iter().map(shown).collect();
            let found = words.join(" ");
            return Err(BadInput(match words.len() {
                1 => format!("{EXPECTED}; found {found} and no file"),
                _ => format!(
                    "{EXPECTED}; found {found}, of which {} is neither",
                    shown(word)
                ),
            }));
        };
        let name = name_of(name)?;
        if file.is_empty() {
            return Err(BadInput(format!(
                "{EXPECTED}; found no file behind `{name}=`"
            )));
        }
        if targets.iter().any(|(other, _)| *other == name) {
            return Err(BadInput(format!(
                "`{name}` is named twice; name each endpoint once"
            )));
        }
        targets.push((name, file.into()));
    }
    match targets.len() {
        ..=TOGETHER_MAX => Ok(targets),
        count => Err(BadInput(format!(
            "{count} endpoints are more than the {TOGETHER_MAX} that can be swapped together"
        ))),
    }
}

/// The two sides of the first `=`.
fn pair(word: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, file) = bytes.split_at_checked(at)?;
    Some((OsStr::from_bytes(name), OsStr::from_bytes(file.get(1..)?)))
}

fn name_of(word: &OsStr) -> Result<String, BadInput> {
    let name = word.to_string_lossy().into_owned();
    match check_endpoint_name(&name) {
        Ok(()) => Ok(name),
        Err(error) => Err(BadInput(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Vec<(String, PathBuf)>, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        targets(&words).map_err(|error| error.0)
    }

    fn is(words: &[&str], expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, file)| ((*name).to_owned(), PathBuf::from(file)))
            .collect();
        assert_eq!(parse(words), Ok(expected), "{words:?}");
    }

    fn refused(words: &[&str], expected: &str) {
        let error = parse(words).unwrap_err();
        assert!(error.contains(expected), "{words:?}: {error}");
    }

    #[test]
    fn a_swap_is_a_name_and_a_file_or_pairs_of_them() {
        is(&["a", "a.wasm"], &[("a", "a.wasm")]);
        is(&["a=a.wasm"], &[("a", "a.wasm")]);
        is(
            &["a=a.wasm", "b=dir/x=y.wasm"],
            &[("a", "a.wasm"), ("b", "dir/x=y.wasm")],
        );
        is(&["a", "dir/x"], &[("a", "dir/x")]);
    }

    #[test]
    fn a_mix_of_both_says_what_to_write() {
        refused(
            &["a"],
            "expected NAME FILE, or NAME=FILE once or more; found `a` and no file",
        );
        refused(
            &["a", "b=b.wasm"],
            "write a=FILE for both to be swapped together",
        );
        refused(&["a=a.wasm", "b.wasm"], "of which `b.wasm` is neither");
        refused(&["a", "a.wasm", "b=b.wasm"], "of which `a` is neither");
        refused(&["a=a.wasm", "a=b.wasm"], "`a` is named twice");
        refused(&["a="], "no file behind `a=`");
        refused(&["a b=x"], "not allowed in an endpoint name");
        refused(&["=x"], "the endpoint name has 0 bytes");
        let many: Vec<String> = (0..=TOGETHER_MAX).map(|n| format!("e{n}=x")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        refused(&many, "17 endpoints are more than the 16");
    }
}
