//! Checks of the project itself: what its documents promise is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// A map that names what is gone is worse than none.
#[test]
fn every_path_that_a_document_names_exists() {
    let mut documents = Vec::new();
    files(&root(), ".md", &mut documents);
    let mut checked = 0;
    for document in &documents {
        let text = std::fs::read_to_string(document).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            let first = name.split('/').next().unwrap_or_default();
            let of_ours = ["host", "guest-sdk", "plugins", "wit", "tests"].contains(&first);
            if of_ours && name.contains('/') && !name.contains([' ', '*', '{', '<']) {
                checked += 1;
                assert!(
                    root().join(name).exists(),
                    "{} names {name}",
                    document.display()
                );
            }
        }
    }
    assert!(
        checked > 20,
        "only {checked} paths found: does this test still look?"
    );
}

#[test]
fn only_the_folders_of_the_design_stand_at_the_top() {
    let known = ["host", "guest-sdk", "plugins", "wit", "tests", "target"];
    for entry in std::fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let fine = !entry.path().is_dir() || name.starts_with('.') || known.contains(&&*name);
        assert!(fine, "unknown folder {name}");
    }
}

/// Frozen means frozen: a change here would hide that old components no longer load.
#[test]
fn the_frozen_contract_is_the_one_of_its_version() {
    let frozen = root().join("tests/fixtures/contract-0-1-0/wit");
    let mut wit = Vec::new();
    files(&frozen, ".wit", &mut wit);
    assert!(wit.len() >= 10);
    for file in wit {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("package instar:endpoint@0.1.0;"),
            "{}",
            file.display()
        );
    }
}

/// A test that waits for time instead of a state fails on a busy machine, or passes for nothing.
#[test]
fn no_test_sleeps() {
    let mut sources = Vec::new();
    files(&root().join("tests/tests"), ".rs", &mut sources);
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        let sleep = ["time::", "sleep("].concat();
        assert!(!text.contains(&sleep), "{} sleeps", source.display());
        let ignore = ["#[", "ignore"].concat();
        assert!(
            !text.contains(&ignore),
            "{} leaves a test out",
            source.display()
        );
    }
}
