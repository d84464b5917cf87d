//! A stand-in for directory, clock and host, for the tests of the scan.
//!
//! A component's content is text, `NAME VERSION`; `bad` does not compile, `cut` has no end, and a
//! version `trap` fails when it is swapped in.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use super::*;
use crate::plugins::component_file::Shape;
use crate::plugins::facts::Files;
use crate::plugins::sidecar::Sidecar;
use crate::plugins::track::{Glance, Seen, Stamp};

pub(super) const SETTLE: u64 = 50;
pub(super) const GONE: u64 = 1000;

#[derive(Clone)]
pub(super) struct Written {
    pub(super) content: String,
    pub(super) stamp: Stamp,
    renamed_in: bool,
}

pub(super) struct World {
    pub(super) scan: Scan,
    now: u64,
    inode: u64,
    pub(super) files: BTreeMap<String, Written>,
    /// Endpoint name to content.
    pub(super) host: BTreeMap<String, String>,
    /// What was ordered and is not done yet.
    pending: VecDeque<Command>,
    /// What was ordered, as text.
    log: Vec<String>,
}

impl World {
    pub(super) fn new() -> Self {
        let milliseconds = Duration::from_millis;
        let rules = Rules {
            settle: milliseconds(SETTLE),
            cut_patience: milliseconds(500),
            gone_after: milliseconds(GONE),
            retry: milliseconds(1000),
            plugins_max: 3,
        };
        Self {
            scan: Scan::new(rules),
            now: 0,
            inode: 0,
            files: BTreeMap::new(),
            host: BTreeMap::new(),
            pending: VecDeque::new(),
            log: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, name: &str, content: &str, renamed_in: bool) {
        self.inode += 1;
        let stamp = Stamp {
            bytes: content.len() as u64,
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(self.now)),
            identity: (1, self.inode),
        };
        let content = content.to_owned();
        let written = Written {
            content,
            stamp,
            renamed_in,
        };
        self.files.insert(name.to_owned(), written);
    }

    /// A file is renamed into the directory.
    pub(super) fn rename_in(&mut self, name: &str, content: &str) {
        self.put(name, content, true);
    }

    /// A file is written in place, and its writer has not said that it is done.
    pub(super) fn write(&mut self, name: &str, content: &str) {
        self.put(name, content, false);
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.files.remove(name);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(mut written) = self.files.remove(from) {
            written.renamed_in = true;
            self.files.insert(to.to_owned(), written);
        }
    }

    /// Looks after `wait` milliseconds; leaves open what is ordered.
    pub(super) fn glance(&mut self, wait: u64) {
        self.now += wait;
        let mut files: BTreeMap<String, Files> = BTreeMap::new();
        for (name, written) in &mut self.files {
            let (plugin, ending) = name.rsplit_once('.').unwrap();
            let glance = Some(Glance {
                seen: Seen::File(written.stamp),
                quiet: false,
                renamed_in: std::mem::take(&mut written.renamed_in),
            });
            let entry = files.entry(plugin.to_owned()).or_default();
            match ending {
                "wasm" => entry.wasm = glance,
                _ => entry.sidecar = glance,
            }
        }
        let at = Duration::from_millis(self.now);
        let files = Some(files);
        let commands = self.scan.look(Look { at, files });
        self.order(commands);
    }

    /// Looks after `wait` milliseconds and carries everything out.
    pub(super) fn look(&mut self, wait: u64) {
        self.glance(wait);
        while self.finish_one() {}
    }

    /// What was logged since the last call.
    pub(super) fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn order(&mut self, commands: Vec<Command>) {
        for command in commands {
            match &command {
                Command::Examine { .. } => {}
                Command::Load { plugin, to } => {
                    self.log.push(format!("load {plugin}: {}", to.digest))
                }
                Command::Swap { plugin, to, .. } => {
                    self.log.push(format!("swap {plugin}: {}", to.digest));
                }
                Command::Resettle { plugin, to, .. } => {
                    self.log
                        .push(format!("resettle {plugin}: {:?}", to.endpoints));
                }
                Command::Stop { plugin, .. } => self.log.push(format!("stop {plugin}")),
                Command::Forget { plugin } => {
                    self.log.push(format!("forget {plugin}"));
                    continue;
                }
            }
            self.pending.push_back(command);
        }
    }

    pub(super) fn finish_one(&mut self) -> bool {
        let Some(command) = self.pending.pop_front() else {
            return false;
        };
        let at = Duration::from_millis(self.now);
        let commands = match command {
            Command::Examine { plugin, pair, wasm } => {
                let found = self.read(&plugin, pair, wasm);
                self.scan.examined(&plugin, &found, at)
            }
            Command::Load { plugin, to } => {
                let applied = self.apply(None, to);
                self.scan.applied(&plugin, applied)
            }
            Command::Swap { plugin, from, to } | Command::Resettle { plugin, from, to } => {
                let applied = self.apply(Some(from), to);
                self.scan.applied(&plugin, applied)
            }
            Command::Stop { plugin, from } => {
                for endpoint in &from.endpoints {
                    assert!(
                        self.host.remove(endpoint).is_some(),
                        "stopped what did not run"
                    );
                }
                self.scan.applied(&plugin, Applied::default())
            }
            Command::Forget { .. } => Vec::new(),
        };
        self.order(commands);
        true
    }

    fn read(&self, plugin: &str, pair: Pair, wasm: bool) -> Findings {
        let file = |ending| self.files.get(&format!("{plugin}.{ending}"));
        let seen = |file: Option<&Written>| file.map(|file| Seen::File(file.stamp));
        let (component, sidecar) = (file("wasm"), file("toml"));
        let moved = seen(component) != pair.wasm || seen(sidecar) != pair.sidecar;
        let wasm = match component {
            Some(file) if !moved && wasm => {
                let (name, version) = file.content.split_once(' ').unwrap_or_default();
                WasmFound::Read {
                    digest: file.content.clone(),
                    shape: match file.content.as_str() {
                        "cut" => Shape::Cut,
                        _ => Shape::Whole,
                    },
                    about: match name {
                        "" => Err("no component".to_owned()),
                        name => Ok((name.to_owned(), version.to_owned())),
                    },
                }
            }
            Some(_) if !moved => WasmFound::AsRunning,
            _ => WasmFound::Moving,
        };
        let sidecar = sidecar.map(|file| (file.content.clone(), Sidecar::parse(&file.content)));
        Findings {
            pair,
            wasm,
            sidecar,
        }
    }

    fn apply(&mut self, from: Option<Deployment>, to: Deployment) -> Applied {
        let names = from.iter().flat_map(|from| &from.endpoints);
        let old: BTreeMap<_, _> = names
            .map(|name| (name.clone(), self.host.remove(name)))
            .collect();
        let fails = to.version.is_empty() || to.version == "trap" && from.is_some();
        if fails || to.endpoints.iter().any(|name| self.host.contains_key(name)) {
            let old = old
                .into_iter()
                .filter_map(|(name, code)| Some((name, code?)));
            self.host.extend(old);
            let trouble = Some(match fails {
                true => Trouble::given_up("failed"),
                false => Trouble::refused("failed"),
            });
            return Applied { now: from, trouble };
        }
        for name in &to.endpoints {
            self.host.insert(name.clone(), to.digest.clone());
        }
        let (now, trouble) = (Some(to), None);
        Applied { now, trouble }
    }

    pub(super) fn reason(&self, plugin: &str) -> String {
        let refused = self
            .scan
            .plugin(plugin)
            .and_then(|plugin| plugin.refused.clone());
        refused.map(|trouble| trouble.reason).unwrap_or_default()
    }

    /// What must hold at every moment.
    pub(super) fn check(&self) {
        let mut owners: BTreeMap<&String, &String> = BTreeMap::new();
        for (name, plugin) in self.scan.plugins() {
            for endpoint in plugin.runs.iter().flat_map(|runs| &runs.endpoints) {
                assert_eq!(
                    owners.insert(endpoint, name),
                    None,
                    "two plugins have {endpoint}"
                );
            }
        }
        let mut busy: Vec<_> = self.pending.iter().filter_map(plugin_of).collect();
        busy.sort();
        let count = busy.len();
        busy.dedup();
        assert_eq!(busy.len(), count, "two pieces of work for one plugin");
    }
}

fn plugin_of(command: &Command) -> Option<&String> {
    match command {
        Command::Examine { plugin, .. }
        | Command::Load { plugin, .. }
        | Command::Swap { plugin, .. }
        | Command::Resettle { plugin, .. }
        | Command::Stop { plugin, .. } => Some(plugin),
        Command::Forget { .. } => None,
    }
}
