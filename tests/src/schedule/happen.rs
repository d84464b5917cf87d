//! Happen: does what is planned beside the traffic.
//!
//! What a plan cannot know is decided here, from what runs: a version that runs already is not swapped
//! to, and an endpoint that crashed often is left alone, since it would fail for good.

use std::sync::PoisonError;
use std::time::Duration;

use fixture_load::{Crash, CrashAsked, CrashLater, Linger, Ping, Release};
use instar_host::EndpointRef;
use instar_host::endpoint::SwapError;
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::EndpointSettings;

use super::plan::{Again, CRASHES_MAX, FRAGILE, GOOD, Happening};
use super::step::FRAGILE_VERSION;
use super::timeline::timeline;
use super::world::{FIRST, HUB, OTHER, REST, World, way};
use crate::{ask, client, component, message, start};

/// Versions of [`GOOD`].
const VERSIONS: [&str; 3] = ["1.0.0", "2.0.0", "3.0.0"];
/// Who asks for a swap that must not come to anything.
const BY_BAD: &str = "bad";
/// How long async work goes on, and when a timer panics meanwhile.
const LINGER_MS: u64 = 40;
const CRASH_MS: u64 = 15;

/// What happened beside the traffic.
#[derive(Default)]
pub(super) struct Happened {
    pub(super) cuts: u32,
    pub(super) restarts: u32,
    pub(super) panics: u64,
    pub(super) panics_one_way: u64,
    pub(super) lingered: bool,
    pub(super) fragile: bool,
}

impl World {
    /// # Errors
    /// What ended in the wrong way.
    pub(super) async fn happen(
        &mut self,
        happening: Happening,
        happened: &mut Happened,
    ) -> Result<(), String> {
        let tries = self.tries();
        match happening {
            Happening::Swap(to) => {
                let to = self.another(HUB, to);
                let swapped = self.host.swap(HUB, &component(to), None, "test").await;
                self.swapped(swapped, tries)?;
            }
            Happening::Force(to) => {
                let code = component(self.another(HUB, to));
                let swapped = self.host.swap_by_force(HUB, &code, None, "test").await;
                self.swapped(swapped, tries)?;
            }
            Happening::Refresh => {
                let refreshed = self.host.refresh(HUB, "test").await;
                self.swapped(refreshed, tries)?;
            }
            Happening::Rollback => {
                let kept = self.host.versions(HUB);
                let back = match kept.get(1) {
                    Some(before) if before.version != FRAGILE_VERSION => {
                        self.host.rollback(HUB, None).await
                    }
                    // It failed already, or there is none.
                    _ => {
                        let code = component(self.another(HUB, GOOD[0]));
                        self.host.swap(HUB, &code, None, "test").await
                    }
                };
                self.swapped(back, tries)?;
            }
            Happening::Together(to) => {
                let swaps = vec![
                    (HUB.to_owned(), component(self.another(HUB, to)), None),
                    (OTHER.to_owned(), component(self.another(OTHER, to)), None),
                ];
                let swapped = self.host.swap_together(swaps, "test").await;
                self.swapped(swapped, tries)?;
            }
            Happening::TogetherBad(to) => {
                let swaps = vec![
                    (HUB.to_owned(), component(self.another(HUB, to)), None),
                    (OTHER.to_owned(), component("bad-trap-in-restore"), None),
                ];
                let refused = self.host.swap_together(swaps, BY_BAD).await;
                self.refused(refused, tries)?;
            }
            Happening::Bad(to) => {
                let refused = self.host.swap(HUB, &component(to), None, BY_BAD).await;
                self.refused(refused, tries)?;
            }
            Happening::Fragile(at, again) => self.fragile(at, again, happened).await?,
            Happening::Rehearse(to) => {
                let rehearsed = self.host.rehearse(HUB, &component(to), None).await;
                let undisturbed = happened.panics == 0
                    && happened.restarts == 0
                    && self.flips_since(tries).is_empty()
                    && GOOD.contains(&to);
                match rehearsed {
                    Ok(rehearsal) if rehearsal.failure.is_none() => {}
                    outcome if undisturbed => {
                        return Err(format!("a good version would not do: {outcome:?}"));
                    }
                    _ => {}
                }
            }
            Happening::Crash if self.may_crash() => {
                self.send_crash().await?;
                happened.panics += 1;
                happened.panics_one_way += 1;
            }
            Happening::CrashAsked if self.may_crash() => {
                let text = "asked to crash".to_owned();
                happened.panics += 1;
                match ask(&self.hub, &CrashAsked { text }).await {
                    Err(error) if error.code() == "crashed" => {}
                    outcome => return Err(format!("expected to be told of it, got {outcome:?}")),
                }
            }
            Happening::CrashInDrain(to) if self.may_crash() => {
                self.crash_in_drain(to, happened).await?;
            }
            Happening::Crash | Happening::CrashAsked | Happening::CrashInDrain(_) => {}
            Happening::Restart => {
                happened.restarts += 1;
                let restarted = self.host.restart(HUB).await;
                restarted.map_err(|error| error.to_string())?;
                self.forgiven = self.crashes();
            }
            Happening::Cut => {
                happened.cuts += 1;
                self.proxy.cut().await;
            }
            Happening::NewPeer => {
                happened.cuts += 1;
                let new = start(client()).await;
                let far = way(&new, &self.proxy);
                let old = std::mem::replace(&mut self.peer, new);
                old.shutdown().await;
                let mut route = self.far.lock().unwrap_or_else(PoisonError::into_inner);
                *route = far;
            }
            Happening::Release => release(&self.hub).await?,
            Happening::ReleaseOther => release(&self.other).await?,
        }
        Ok(())
    }

    async fn fragile(
        &mut self,
        at: u64,
        again: Again,
        happened: &mut Happened,
    ) -> Result<(), String> {
        let current = self.host.endpoint_settings(HUB).ok_or("no such endpoint")?;
        let mut settings: EndpointSettings = (*current).clone();
        let mut set = |name: &str, value: u64| {
            settings.config.insert(name.to_owned(), value.to_string());
        };
        set("trap_at", at);
        if again == Again::Never {
            let Ok(seen) = ask(&self.hub, &Ping {}).await else {
                return Ok(());
            };
            set("trap_in_generation", seen.generation + 1);
        } else {
            settings.config.remove("trap_in_generation");
        }
        happened.fragile = true;
        let tries = self.tries();
        let code = component(FRAGILE);
        let swapped = self.host.swap(HUB, &code, Some(settings), "test").await;
        self.swapped(swapped, tries)
    }

    /// A swap has to wait for async work; a timer panics meanwhile, or shortly after it.
    async fn crash_in_drain(
        &mut self,
        to: &'static str,
        happened: &mut Happened,
    ) -> Result<(), String> {
        let plain = self.plain_crashes();
        let sent = self.hub.send(message(&Linger { ms: LINGER_MS })).await;
        sent.map_err(|error| error.to_string())?;
        let later = CrashLater { after_ms: CRASH_MS };
        let sent = self.hub.send(message(&later)).await;
        sent.map_err(|error| error.to_string())?;
        (happened.panics, happened.lingered) = (happened.panics + 1, true);
        // Both are handled, or the first one is over already.
        let began = tokio::time::Instant::now();
        let timers = || self.host.status_of(HUB).map_or(0, |status| status.timers);
        while timers() < 3 && began.elapsed() < Duration::from_millis(CRASH_MS) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let tries = self.tries();
        let code = component(self.another(HUB, to));
        let swapped = self.host.swap(HUB, &code, None, "test").await;
        match swapped {
            Err(SwapError::GivenUp { reason, .. }) if reason.contains("crashed") => {}
            outcome => self.swapped(outcome, tries)?,
        }
        // Another crash would take the timer with it.
        let began = tokio::time::Instant::now();
        while self.plain_crashes() <= plain {
            if began.elapsed() > REST {
                return Err("the timer that panics was lost".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// A swap to a good version: it worked, or a version on probation failed at the same time.
    fn swapped<T: std::fmt::Debug>(
        &mut self,
        outcome: Result<T, SwapError>,
        tries: usize,
    ) -> Result<(), String> {
        match outcome {
            Ok(_) => self.forgiven = self.crashes(),
            Err(SwapError::AlreadyRuns { .. }) => {}
            // The record of the rollback comes after it.
            Err(SwapError::GivenUp { reason, .. }) if reason.contains("rolled back meanwhile") => {}
            Err(_) if !self.flips_since(tries).is_empty() => {}
            Err(error) => return Err(format!("a good version was refused: {error}")),
        }
        Ok(())
    }

    fn refused<T: std::fmt::Debug>(
        &self,
        outcome: Result<T, SwapError>,
        tries: usize,
    ) -> Result<(), String> {
        if let Ok(record) = outcome {
            return Err(format!("a bad version was taken: {record:?}"));
        }
        let by_bad = |by: &String| by == BY_BAD;
        match self.flips_since(tries).iter().any(by_bad) {
            true => Err("it was told that nothing was swapped, and it was".to_owned()),
            false => Ok(()),
        }
    }

    /// Tries to swap that are on record.
    fn tries(&self) -> usize {
        self.host.history(HUB).map_or(0, |records| records.len())
    }

    /// Who did each flip since there were so many tries.
    fn flips_since(&self, tries: usize) -> Vec<String> {
        let records = self.host.history(HUB).unwrap_or_default();
        let flips = records.into_iter().skip(tries).filter(|record| {
            matches!(
                record.outcome,
                SwapOutcome::Swapped | SwapOutcome::RolledBack(_)
            )
        });
        flips.map(|record| record.by).collect()
    }

    /// `wanted`, or the next good version if that one runs.
    fn another(&self, name: &str, wanted: &'static str) -> &'static str {
        let running = self.host.status_of(name).map(|status| status.code.version);
        let runs = |index: usize| {
            VERSIONS
                .get(index)
                .is_some_and(|version| running.as_deref() == Some(*version))
        };
        let index = GOOD.iter().position(|good| *good == wanted).unwrap_or(0);
        match runs(index) {
            true => GOOD
                .get((index + 1) % GOOD.len())
                .copied()
                .unwrap_or(wanted),
            false => wanted,
        }
    }

    fn crashes(&self) -> u64 {
        self.host.status_of(HUB).map_or(0, |status| status.crashes)
    }

    /// Crashes that were no rollback.
    fn plain_crashes(&self) -> u64 {
        let ran = timeline(&self.host, HUB, FIRST);
        let back = ran.iter().filter(|ran| ran.rolled_back.is_some()).count();
        self.crashes().saturating_sub(back as u64)
    }

    fn may_crash(&self) -> bool {
        self.crashes() < self.forgiven + u64::from(CRASHES_MAX)
    }

    async fn send_crash(&self) -> Result<(), String> {
        let text = "asked to crash".to_owned();
        let sent = self.hub.send(message(&Crash { text })).await;
        sent.map_err(|error| error.to_string())
    }
}

async fn release(of: &EndpointRef) -> Result<(), String> {
    let sent = of.send(message(&Release {})).await;
    sent.map_err(|error| error.to_string())
}
