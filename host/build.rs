//! Builds what the binary carries: the bundled plugins, and the sources that `instar new` lays down.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Plugins that are carried: package, feature if it has versions, and the name of the file.
const PLUGINS: [(&str, Option<&str>, &str); 6] = [
    ("endpoint-verifier", None, "endpoint_verifier"),
    ("master", Some("spread-out"), "master"),
    ("worker", None, "worker"),
    ("soak", Some("v1"), "soak_v1"),
    ("soak", Some("v2"), "soak_v2"),
    ("soak", Some("v3"), "soak_v3"),
];

/// Folders whose files a new plugin needs, and the endings of those files.
const SDK: [(&str, &[&str]); 2] = [
    ("guest-sdk", &["rs", "toml", "md"]),
    ("wit", &["wit", "md"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().ok_or("the host has no parent folder")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for folder in [
        "guest-sdk",
        "wit",
        "plugins/deploy-protocol",
        "plugins/endpoint-verifier",
        "plugins/master",
        "plugins/soak",
        "plugins/worker",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
    }
    let target = match env::var_os("INSTAR_GUEST_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => root.join("target/guest"),
    };
    // The versions of a plugin have one file name: nobody else builds between a build and its copy.
    fs::create_dir_all(&target)?;
    let lock = fs::File::create(target.join("bundled.lock"))?;
    lock.lock()?;
    for (package, feature, name) in PLUGINS {
        let built = build_plugin(root, &target, package, feature)?;
        fs::copy(built, out.join(format!("{name}.wasm")))?;
    }
    drop(lock);
    collect_sources(root, &out)
}

/// Builds a plugin in a target folder of its own: the folder of this build is locked by it.
fn build_plugin(
    root: &Path,
    target: &Path,
    package: &str,
    feature: Option<&str>,
) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--locked",
            "--profile",
            "guest",
            "--target",
            "wasm32-wasip2",
        ])
        .args(["--package", package, "--target-dir"])
        .arg(target)
        .args(["--no-default-features", "--features"])
        .arg(feature.unwrap_or_default())
        .current_dir(root)
        // Flags of the host's build are not for the guest's.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cannot build the plugin `{package}`; if the target is missing: \
             `rustup target add wasm32-wasip2`\n{text}"
        )
        .into());
    }
    let file = format!("{}.wasm", package.replace('-', "_"));
    Ok(target.join("wasm32-wasip2/guest").join(file))
}

fn collect_sources(root: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let manifest = root.join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let sdk_manifest = out.join("sdk_workspace.toml");
    fs::write(&sdk_manifest, sdk_workspace(&fs::read_to_string(manifest)?))?;
    let mut text = String::from("static FILES: &[(&str, &[u8])] = &[\n");
    writeln!(
        text,
        "    (\"Cargo.toml\", include_bytes!({:?})),",
        sdk_manifest.display().to_string()
    )?;
    for (folder, endings) in SDK {
        let mut files = Vec::new();
        walk(&root.join(folder), endings, &mut files)?;
        files.sort();
        for file in files {
            let relative = file.strip_prefix(root)?.display().to_string();
            let path = file.display().to_string();
            writeln!(text, "    ({relative:?}, include_bytes!({path:?})),")?;
        }
    }
    text.push_str("];\n");
    fs::write(out.join("sdk_sources.rs"), text)?;
    Ok(())
}

/// The manifest of a workspace of the SDK alone: what its crates inherit, and nothing else.
fn sdk_workspace(manifest: &str) -> String {
    let mut text = String::from(
        "[workspace]\nresolver = \"3\"\nmembers = [\"guest-sdk\", \"guest-sdk/macros\"]\n",
    );
    let mut wanted = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            wanted = ["[workspace.package]", "[workspace.dependencies]"].contains(&line)
                || line.starts_with("[workspace.lints");
        }
        if wanted {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn walk(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                walk(&path, endings, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|ending| endings.iter().any(|known| ending == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}
