//! Builds every component that the tests, the benches and the demo run, so that `cargo test` needs
//! nothing else.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Package, feature, and the name under which `instar_tests::component` finds it.
const COMPONENTS: &[(&str, Option<&str>, &str)] = &[
    ("echo", None, "echo"),
    ("master", Some("spread-out"), "master"),
    ("master", Some("consolidate"), "master-consolidate"),
    ("worker", None, "worker"),
    ("primes", Some("driver"), "primes-driver"),
    ("primes", Some("executor"), "primes-executor"),
    ("wordcount", Some("driver"), "wordcount-driver"),
    ("wordcount", Some("executor"), "wordcount-executor"),
    ("wordcount", Some("v1"), "wordcount-v1"),
    ("wordcount", Some("v2"), "wordcount-v2"),
    ("wordcount", Some("v3"), "wordcount-v3"),
    ("wordcount", Some("driver"), "wordcount-driver"),
    ("wordcount", Some("executor"), "wordcount-executor"),
    ("primes", Some("driver"), "primes-driver"),
    ("primes", Some("executor"), "primes-executor"),
    ("fixture-probe", Some("v1"), "probe-v1"),
    ("fixture-probe", Some("v2"), "probe-v2"),
    ("fixture-probe", Some("faulty"), "probe-faulty"),
    ("fixture-probe", Some("spinning"), "probe-spinning"),
    ("fixture-probe", Some("sick"), "probe-sick"),
    ("fixture-wider", Some("narrow"), "wider-narrow"),
    ("fixture-wider", Some("wide"), "wider-wide"),
    ("fixture-probe", Some("slow-restore"), "probe-slow-restore"),
    ("fixture-candidate", Some("v1"), "candidate-v1"),
    ("fixture-candidate", Some("v2"), "candidate-v2"),
    ("fixture-candidate", Some("faulty"), "candidate-faulty"),
    ("fixture-reader-writer", Some("v1"), "reader-writer-v1"),
    ("fixture-reader-writer", Some("v2"), "reader-writer-v2"),
    (
        "fixture-reader-writer",
        Some("faulty"),
        "reader-writer-faulty",
    ),
    ("fixture-load", Some("v1"), "load-v1"),
    ("fixture-load", Some("v2"), "load-v2"),
    ("fixture-load", Some("v3"), "load-v3"),
    ("fixture-load", Some("fragile"), "load-fragile"),
    ("fixture-bad", Some("trap-in-start"), "bad-trap-in-start"),
    (
        "fixture-bad",
        Some("trap-in-describe"),
        "bad-trap-in-describe",
    ),
    (
        "fixture-bad",
        Some("trap-in-restore"),
        "bad-trap-in-restore",
    ),
    (
        "fixture-bad",
        Some("spin-in-restore"),
        "bad-spin-in-restore",
    ),
    (
        "fixture-bad",
        Some("trap-in-snapshot"),
        "bad-trap-in-snapshot",
    ),
    (
        "fixture-bad",
        Some("unreadable-state"),
        "bad-unreadable-state",
    ),
    ("fixture-bad", Some("unknown-right"), "bad-unknown-right"),
    (
        "fixture-bad",
        Some("grow-in-restore"),
        "bad-grow-in-restore",
    ),
    ("fixture-bad", Some("trap-at-load"), "bad-trap-at-load"),
    ("fixture-bad", Some("spin-at-load"), "bad-spin-at-load"),
    (
        "fixture-bad",
        Some("spin-in-describe"),
        "bad-spin-in-describe",
    ),
    (
        "fixture-bad",
        Some("refuse-in-restore"),
        "bad-refuse-in-restore",
    ),
    ("fixture-bad", Some("wants-registry"), "bad-wants-registry"),
    ("fixture-bad", Some("large-memory"), "bad-large-memory"),
    ("fixture-bad", Some("wrong-version"), "bad-wrong-version"),
    ("fixture-bad", Some("trap-in-probe"), "bad-trap-in-probe"),
    ("fixture-bad", Some("other-world"), "bad-other-world"),
    ("fixture-contract-0-1-0", None, "contract-0-1-0"),
    ("fixture-launcher", Some("v1"), "launcher-v1"),
    ("fixture-launcher", Some("v2"), "launcher-v2"),
    ("fixture-launcher", Some("fragile"), "launcher-fragile"),
];

/// Packages with a `main`, which become commands instead of endpoints, and the name of each.
const COMMANDS: &[(&str, &str)] = &[("fixture-job", "job")];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().ok_or("the tests have no parent folder")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for folder in ["guest-sdk", "wit", "plugins", "tests/fixtures"] {
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
    }
    let target = root.join("target/guest");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let components = COMPONENTS.iter().map(|(package, feature, name)| {
        let file = package.replace('-', "_");
        (package, *feature, name, file)
    });
    let commands = COMMANDS
        .iter()
        .map(|(package, name)| (package, None, name, (*package).to_owned()));
    for (package, feature, name, file) in components.chain(commands) {
        let output = Command::new(&cargo)
            .args([
                "build",
                "--locked",
                "--profile",
                "guest",
                "--target",
                "wasm32-wasip2",
            ])
            .args(["--package", package, "--target-dir"])
            .arg(&target)
            .args(["--no-default-features", "--features", feature.unwrap_or("")])
            .current_dir(root)
            // Flags of this build are not for the guest's.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cannot build the component `{name}`\n{text}").into());
        }
        let built = target
            .join("wasm32-wasip2/guest")
            .join(format!("{file}.wasm"));
        fs::copy(built, out.join(format!("{name}.wasm")))?;
    }
    println!("cargo::rustc-env=INSTAR_COMPONENTS={}", out.display());
    Ok(())
}
