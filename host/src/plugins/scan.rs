//! Scan: decides what is to be done about each plugin. Pure: no files, no clock, no host.
//!
//! In: looks ([`Scan::look`]), what reading found ([`Scan::examined`]), how work ended
//! ([`Scan::applied`], [`Scan::acted`]). Out: [`Command`]s, which [`super::task`] carries out.
//!
//! Invariants
//! 1. At most one piece of work is under way for a plugin, so its versions stay in order.
//! 2. A file is read only at rest: renamed in, or the same in two looks `settle` apart.
//! 3. A vanished file is a stop only when it stayed away for `gone_after`.
//! 4. An endpoint name belongs to at most one plugin: to the file that was examined first.
//! 5. What was refused is not tried again until the content of file or sidecar differs.
//!
//! Not here: what a good file is (`judge`, one file on), how a status looks ([`super::status`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::component_file::Shape;
use super::facts::{
    Acted, Applied, Command, Contents, Deployment, Fate, Findings, Look, Mark, Pair, Rules,
    SidecarNow, Trouble, WasmFound,
};
use super::track::{Presence, Seen, Track};

#[path = "judge.rs"]
mod judge;

pub(crate) use judge::{Judgement, Verdict};

#[derive(Debug, Default)]
enum Work {
    #[default]
    None,
    Examining,
    Applying(Box<Deployment>),
    /// Stopping, or an operator's action.
    Acting,
}

/// What the scan knows of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Plugin {
    wasm: Track,
    sidecar: Track,
    work: Work,
    /// As what the files were last read.
    examined: Option<Pair>,
    /// What they held.
    contents: Option<Contents>,
    /// They are not read again before this moment, unless they change.
    not_before: Option<(Pair, Duration)>,
    /// When something may have to be done although nothing happens.
    wake: Option<Duration>,
    /// The other plugin that has the endpoint name that this one wants.
    blocked_by: Option<String>,
    pub(crate) runs: Option<Deployment>,
    pub(crate) refused: Option<Trouble>,
    refused_contents: Option<Contents>,
    pub(crate) held: Option<Contents>,
}

/// The state of all decisions.
#[derive(Debug)]
pub(crate) struct Scan {
    rules: Rules,
    at: Duration,
    plugins: BTreeMap<String, Plugin>,
    /// Files that the last look found beyond `plugins_max`.
    beyond_limit: usize,
}

impl Scan {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            at: Duration::ZERO,
            plugins: BTreeMap::new(),
            beyond_limit: 0,
        }
    }

    /// Takes in what lies in the directory now.
    pub(crate) fn look(&mut self, look: Look) -> Vec<Command> {
        self.at = look.at;
        let Some(mut files) = look.files else {
            return Vec::new();
        };
        for (name, plugin) in &mut self.plugins {
            let found = files.remove(name).unwrap_or_default();
            plugin.wasm.look(look.at, found.wasm);
            plugin.sidecar.look(look.at, found.sidecar);
        }
        self.beyond_limit = 0;
        // A sidecar without a component is nothing yet.
        for (name, found) in files.into_iter().filter(|(_, found)| found.wasm.is_some()) {
            if self.plugins.len() >= self.rules.plugins_max {
                self.beyond_limit += 1;
                continue;
            }
            let plugin = self.plugins.entry(name).or_default();
            plugin.wasm.look(look.at, found.wasm);
            plugin.sidecar.look(look.at, found.sidecar);
        }
        let names: Vec<_> = self.plugins.keys().cloned().collect();
        names.iter().filter_map(|name| self.decide(name)).collect()
    }

    /// Takes in what reading the files of `plugin` found, at the time `at`.
    pub(crate) fn examined(
        &mut self,
        plugin: &str,
        found: &Findings,
        at: Duration,
    ) -> Vec<Command> {
        let rules = self.rules.clone();
        let Some(known) = self.plugins.get_mut(plugin) else {
            return Vec::new();
        };
        known.work = Work::None;
        match &found.wasm {
            WasmFound::Moving => {
                known.wasm.disturb(at, found.pair.wasm.as_ref());
                known.sidecar.disturb(at, found.pair.sidecar.as_ref());
                return self.decide(plugin).into_iter().collect();
            }
            WasmFound::Read { shape, .. }
                if *shape == Shape::Cut && at < known.wasm.since() + rules.cut_patience =>
            {
                let until = known.wasm.since() + rules.cut_patience;
                known.not_before = Some((found.pair.clone(), until));
                return self.decide(plugin).into_iter().collect();
            }
            WasmFound::Unreadable(_) => {
                known.not_before = Some((found.pair.clone(), at + rules.retry));
            }
            _ => known.examined = Some(found.pair.clone()),
        }
        let judgement = self.judge(plugin, found, false);
        self.follow(plugin, found, judgement)
    }

    /// Turns a judgement into state and commands.
    fn follow(&mut self, plugin: &str, found: &Findings, judgement: Judgement) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut released = Vec::new();
        let adopted = judgement.adopt.and_then(|holder| {
            let from = self.plugins.remove(&holder)?.runs;
            released = self.release(&holder);
            commands.push(Command::Forget { plugin: holder });
            from
        });
        let contents = self.contents_of(plugin, found);
        let Some(known) = self.plugins.get_mut(plugin) else {
            return commands;
        };
        known.runs = known.runs.take().or(adopted);
        if contents.is_some() && known.held != contents {
            known.held = None;
        }
        known.contents.clone_from(&contents);
        match judgement.verdict {
            Verdict::Nothing => {}
            Verdict::Same => known.same(),
            Verdict::Refuse { reason, blocked_by } => {
                known.refused = Some(Trouble::refused(reason));
                known.refused_contents = contents;
                known.blocked_by = blocked_by;
            }
            Verdict::Apply(to) => {
                known.blocked_by = None;
                commands.push(self.start(plugin, *to));
            }
        }
        released.push(plugin.to_owned());
        commands.extend(released.iter().filter_map(|name| self.decide(name)));
        commands
    }

    /// Marks the work as under way and names it.
    fn start(&mut self, plugin: &str, to: Deployment) -> Command {
        let known = self.plugins.entry(plugin.to_owned()).or_default();
        known.work = Work::Applying(Box::new(to.clone()));
        let plugin = plugin.to_owned();
        match known.runs.clone() {
            None => Command::Load { plugin, to },
            Some(from) if from.digest == to.digest => Command::Resettle { plugin, from, to },
            Some(from) => Command::Swap { plugin, from, to },
        }
    }

    /// Takes in how loading, swapping, resettling or stopping ended.
    pub(crate) fn applied(&mut self, plugin: &str, applied: Applied) -> Vec<Command> {
        let Some(known) = self.plugins.get_mut(plugin) else {
            return Vec::new();
        };
        known.work = Work::None;
        known.runs = applied.now;
        known.refused = applied.trouble;
        known.refused_contents = match known.refused {
            Some(_) => known.contents.clone(),
            None => None,
        };
        self.go_on(plugin)
    }

    /// Reserves a plugin for an operator's action, which may be the first that is heard of it.
    /// False: other work is under way, or there would be too many plugins.
    pub(crate) fn reserve(&mut self, plugin: &str) -> bool {
        let room = self.plugins.len() < self.rules.plugins_max;
        match self.plugins.get_mut(plugin) {
            Some(known) if matches!(known.work, Work::None) => known.work = Work::Acting,
            None if room => {
                let known = self.plugins.entry(plugin.to_owned()).or_default();
                known.work = Work::Acting;
            }
            _ => return false,
        }
        true
    }

    /// Announces what a reserved plugin is about to run, so that its names count as taken.
    pub(crate) fn announce(&mut self, plugin: &str, to: Deployment) {
        if let Some(known) = self.plugins.get_mut(plugin) {
            known.work = Work::Applying(Box::new(to));
        }
    }

    /// Takes in what an operator did to a reserved plugin.
    pub(crate) fn acted(&mut self, plugin: &str, acted: Acted, at: Duration) -> Vec<Command> {
        let Some(known) = self.plugins.get_mut(plugin) else {
            return Vec::new();
        };
        known.work = Work::None;
        known.runs = acted.now;
        let contents_before = known.contents.clone();
        if let Some(wrote) = acted.wrote {
            let pair = known.examined.take().unwrap_or_default();
            let before = known.contents.take();
            let (sidecar, digest) = match wrote.sidecar {
                SidecarNow::Known => (pair.sidecar, before.and_then(|(_, digest)| digest)),
                SidecarNow::Read(seen, digest) => (seen, digest),
                SidecarNow::Written(seen, digest) => {
                    known.sidecar.written(at, seen.clone());
                    (Some(seen), Some(digest))
                }
            };
            if let Some(wasm) = &wrote.wasm {
                known.wasm.written(at, wasm.clone());
            }
            let wasm = wrote.wasm.or(pair.wasm);
            known.examined = Some(Pair { wasm, sidecar });
            let runs = known.runs.as_ref();
            known.contents = runs.map(|runs| (runs.digest.clone(), digest));
        }
        match acted.mark {
            Mark::Keep => {}
            Mark::Clean => known.forgive(),
            Mark::Again => {
                known.forgive();
                (known.examined, known.not_before) = (None, None);
            }
            Mark::Held => {
                known.forgive();
                // Unknown contents equal no real ones, so the next readable file is loaded.
                known.held = Some(known.contents.clone().unwrap_or_default());
            }
            Mark::Refused(trouble) => {
                known.held = None;
                known.refused = Some(trouble);
                known.refused_contents = contents_before;
            }
        }
        self.go_on(plugin)
    }

    /// Decides about `plugin`, and about those that waited for a name that it may have given up.
    fn go_on(&mut self, plugin: &str) -> Vec<Command> {
        let mut names = vec![plugin.to_owned()];
        names.extend(self.release(plugin));
        names.iter().filter_map(|name| self.decide(name)).collect()
    }

    fn release(&mut self, holder: &str) -> Vec<String> {
        let mut released = Vec::new();
        for (name, plugin) in &mut self.plugins {
            if plugin.blocked_by.as_deref() == Some(holder) {
                plugin.blocked_by = None;
                plugin.examined = None;
                (plugin.refused, plugin.refused_contents) = (None, None);
                released.push(name.clone());
            }
        }
        released
    }

    /// The next thing to do about one plugin, if anything; also notes when to ask again.
    fn decide(&mut self, name: &str) -> Option<Command> {
        let (at, rules) = (self.at, &self.rules);
        let known = self.plugins.get_mut(name)?;
        known.wake = None;
        if !matches!(known.work, Work::None) {
            return None;
        }
        match known.wasm.presence(at, rules.gone_after) {
            Presence::There => {}
            Presence::Missing(until) => {
                known.wake = Some(until);
                return None;
            }
            Presence::Absent => return Some(self.leave(name)),
        }
        // Editors put a file aside before they write it anew: its settings hold meanwhile.
        if let Presence::Missing(until) = known.sidecar.presence(at, rules.gone_after) {
            known.wake = Some(until);
            return None;
        }
        let pair = Pair {
            wasm: known.wasm.seen().cloned(),
            sidecar: known.sidecar.seen().cloned(),
        };
        let news = known.wasm.is_news() || known.sidecar.is_news();
        if known.examined.as_ref() == Some(&pair) && !news {
            return None;
        }
        let mut wait = [&known.wasm, &known.sidecar]
            .into_iter()
            .filter_map(|file| file.at_rest(at, rules.settle))
            .max();
        if let Some((held, until)) = &known.not_before
            && *held == pair
            && at < *until
        {
            wait = wait.max(Some(*until));
        }
        if wait.is_some() {
            known.wake = wait;
            return None;
        }
        let known_code = known.contents.as_ref().map(|(digest, _)| digest);
        let runs = known.runs.as_ref().map(|runs| &runs.digest);
        let same_file = known.examined.as_ref().map(|pair| &pair.wasm) == Some(&pair.wasm);
        let same_file = same_file && !known.wasm.is_news();
        known.wasm.no_news();
        known.sidecar.no_news();
        let wasm = !(same_file && runs.is_some() && runs == known_code);
        known.work = Work::Examining;
        Some(Command::Examine {
            plugin: name.to_owned(),
            pair,
            wasm,
        })
    }

    /// The file is gone for good.
    fn leave(&mut self, name: &str) -> Command {
        let plugin = name.to_owned();
        if let Some(known) = self.plugins.get_mut(name) {
            // Should it come back, it is a new file, whatever was thought of the old one.
            known.forgive();
            (known.examined, known.contents) = (None, None);
            if let Some(from) = known.runs.clone() {
                known.work = Work::Acting;
                return Command::Stop { plugin, from };
            }
        }
        self.plugins.remove(name);
        Command::Forget { plugin }
    }

    /// When to look again although nothing happens.
    pub(crate) fn wake(&self) -> Option<Duration> {
        self.plugins.values().filter_map(|plugin| plugin.wake).min()
    }

    /// One plugin.
    pub(crate) fn plugin(&self, name: &str) -> Option<&Plugin> {
        self.plugins.get(name)
    }

    /// All plugins, by name.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = (&String, &Plugin)> {
        self.plugins.iter()
    }

    /// Files that the last look found beyond the most plugins there may be.
    pub(crate) fn beyond_limit(&self) -> usize {
        self.beyond_limit
    }
}

impl Plugin {
    /// Forgets what was thought of the files.
    fn forgive(&mut self) {
        (self.refused, self.refused_contents) = (None, None);
        (self.held, self.blocked_by) = (None, None);
    }

    /// The files say what runs. That a version failed is told until another one comes: the file may be
    /// the one that we put back, and what failed is still not tried again by itself.
    fn same(&mut self) {
        let taken_back = |trouble: &Trouble| trouble.fate == Fate::TakenBack;
        match self.refused.as_ref().is_some_and(taken_back) {
            true => (self.held, self.blocked_by) = (None, None),
            false => self.forgive(),
        }
    }

    /// True while work is under way.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.work, Work::None)
    }

    /// Digest of what the file holds, as last read.
    pub(crate) fn file_digest(&self) -> Option<&str> {
        self.contents.as_ref().map(|(digest, _)| digest.as_str())
    }

    /// How the file looked when it was read, if it held this digest.
    pub(crate) fn file_with(&self, digest: &str) -> Option<&Seen> {
        let seen = self.examined.as_ref()?.wasm.as_ref()?;
        (self.file_digest() == Some(digest)).then_some(seen)
    }

    /// The endpoint names that belong to it now, or will when its work is done.
    fn names(&self) -> impl Iterator<Item = &String> {
        let coming = match &self.work {
            Work::Applying(to) => Some(&**to),
            _ => None,
        };
        let deployments = self.runs.iter().chain(coming);
        deployments.flat_map(|deployment| &deployment.endpoints)
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
