//! Judge: what the contents of a plugin's files mean for what runs. Reads the state, changes nothing.
//!
//! Used for files that were found ([`Scan::examined`]) and for bytes that an operator hands in
//! ([`super::super::actions`]), so that both are held to the same rules.

use super::Scan;
use crate::plugins::facts::{Contents, Deployment, Findings, WasmFound};

/// What is to be thought of the files of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    /// Another plugin, whose file was renamed to this one: what it runs goes on as this plugin's.
    pub(crate) adopt: Option<String>,
    /// What to do.
    pub(crate) verdict: Verdict,
}

/// What to do about the files of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing: the same contents were refused, or stopped by an operator.
    Nothing,
    /// Nothing: it runs already.
    Same,
    /// Leave what runs, and say why.
    Refuse {
        /// For people.
        reason: String,
        /// The plugin that has the wanted name, if that is the reason.
        blocked_by: Option<String>,
    },
    /// Run this.
    Apply(Box<Deployment>),
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        Self {
            adopt: None,
            verdict,
        }
    }
}

fn refuse(reason: impl Into<String>) -> Judgement {
    let verdict = Verdict::Refuse {
        reason: reason.into(),
        blocked_by: None,
    };
    verdict.into()
}

impl Scan {
    /// The digests of what was found; `None` if the component was not read to its end.
    pub(super) fn contents_of(&self, plugin: &str, found: &Findings) -> Option<Contents> {
        let digest = match &found.wasm {
            WasmFound::Read { digest, .. } => digest.clone(),
            WasmFound::AsRunning => self.plugins.get(plugin)?.runs.as_ref()?.digest.clone(),
            _ => return None,
        };
        let sidecar = found.sidecar.as_ref().map(|(digest, _)| digest.clone());
        Some((digest, sidecar))
    }

    /// Says what is to be done about what was found. `afresh`: even if the same was refused before, or
    /// stopped by an operator.
    pub(crate) fn judge(&self, plugin: &str, found: &Findings, afresh: bool) -> Judgement {
        let Some(known) = self.plugins.get(plugin) else {
            return Verdict::Nothing.into();
        };
        if let WasmFound::Unreadable(reason) | WasmFound::Refused(reason) = &found.wasm {
            return refuse(reason);
        }
        let Some(contents) = self.contents_of(plugin, found) else {
            return Verdict::Nothing.into();
        };
        let before = [&known.held, &known.refused_contents];
        if !afresh && before.contains(&&Some(contents.clone())) {
            return Verdict::Nothing.into();
        }
        let sidecar = match &found.sidecar {
            None => Default::default(),
            Some((_, Ok(sidecar))) => sidecar.clone(),
            Some((_, Err(error))) => return refuse(format!("{plugin}.toml: {error}")),
        };
        let about = match (&found.wasm, &known.runs) {
            (WasmFound::Read { about, .. }, _) => about.clone(),
            (_, Some(runs)) => Ok((runs.own_name.clone(), runs.version.clone())),
            (_, None) => return Verdict::Nothing.into(),
        };
        let (own_name, version) = match (about, &known.runs) {
            (Ok(about), _) => about,
            (Err(reason), None) => return refuse(reason),
            // The host will refuse it too; asking leaves a record of the try in its history.
            (Err(_), Some(runs)) => {
                let (digest, version) = (contents.0, String::new());
                let to = Deployment {
                    digest,
                    version,
                    ..runs.clone()
                };
                return Verdict::Apply(Box::new(to)).into();
            }
        };
        let to = Deployment {
            digest: contents.0,
            endpoints: match sidecar.endpoints.is_empty() {
                true => vec![own_name.clone()],
                false => sidecar.endpoints.clone(),
            },
            own_name,
            version,
            settings: sidecar.settings,
        };
        self.judge_names(plugin, to, sidecar.endpoints.is_empty())
    }

    /// The last question: may it have the endpoint names that it wants?
    fn judge_names(&self, plugin: &str, to: Deployment, by_own_name: bool) -> Judgement {
        let known = self.plugins.get(plugin);
        let mut runs = known.and_then(|known| known.runs.as_ref());
        let mut adopt = None;
        for endpoint in &to.endpoints {
            let Some((holder, other)) = self.holder(endpoint, plugin) else {
                continue;
            };
            let renamed = other.wasm.is_missing() && !other.is_busy();
            if renamed && runs.is_none() && adopt.is_none() {
                runs = other.runs.as_ref();
                adopt = Some(holder.clone());
            } else if adopt.as_ref() != Some(holder) {
                let reason = format!(
                    "endpoint `{endpoint}` belongs to `{holder}.wasm`, which was there first; \
                     remove that file, or name other `endpoints` in {plugin}.toml"
                );
                let blocked_by = Some(holder.clone());
                return Verdict::Refuse { reason, blocked_by }.into();
            }
        }
        if let Some(runs) = runs
            && by_own_name
            && runs.own_name != to.own_name
            && runs.endpoints == [runs.own_name.clone()]
        {
            // Silently stopping one endpoint and starting another would lose the state of the first.
            return refuse(format!(
                "the file now calls itself `{}`, but endpoint `{}` runs from it; write \
                 endpoints = [\"{}\"] into {plugin}.toml to keep the name, or the new name to change it",
                to.own_name, runs.own_name, runs.own_name
            ));
        }
        let verdict = match runs {
            Some(runs) if *runs == to => Verdict::Same,
            _ => Verdict::Apply(Box::new(to)),
        };
        Judgement { adopt, verdict }
    }

    /// Who has this endpoint name, other than `except`.
    fn holder(&self, endpoint: &str, except: &str) -> Option<(&String, &super::Plugin)> {
        self.plugins
            .iter()
            .find(|(name, plugin)| *name != except && plugin.names().any(|held| held == endpoint))
    }
}
