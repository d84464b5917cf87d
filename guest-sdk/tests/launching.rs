//! Launching, as a test of an endpoint sees it.

use std::time::Duration;

use instar_sdk::launching::{
    ComponentFile, LaunchChange, LaunchChanged, LaunchId, Program, Workload,
};
use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use serde::{Deserialize, Serialize};

/// Starts a job of this name.
#[derive(Message, Serialize, Deserialize)]
#[message(kind = "t.Start")]
struct Start {
    name: String,
}

/// Ends all jobs and tidies up.
#[derive(Message, Serialize, Deserialize)]
#[message(kind = "t.EndAll")]
struct EndAll {}

#[derive(Default, Serialize, Deserialize)]
struct Jobs {
    told: Vec<(LaunchId, LaunchChange)>,
    refused: Option<Failure>,
}

fn workload(name: &str) -> Workload {
    Workload {
        folder: name.to_owned(),
        component: ComponentFile {
            uri: "instar://host:1/files/job.wasm".to_owned(),
            sha256: "0".repeat(64),
        },
        memory_mb: 1,
        cpu_percent: 100,
        program: Program::Command {
            arguments: vec![name.to_owned()],
            environment: Default::default(),
        },
    }
}

#[instar_sdk::endpoint(name = "jobs", version = "1.0.0", rights = ["launch"])]
impl Jobs {
    #[on_start]
    fn begin(_: &mut Context) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    #[receive]
    fn start(&mut self, ctx: &mut Context, start: Start) -> Result<(), Failure> {
        let token = start.name.clone().into();
        let launched = ctx.launching().launch(&workload(&start.name), token);
        self.refused = launched.err();
        Ok(())
    }

    #[receive]
    fn end_all(&mut self, ctx: &mut Context, _: EndAll) -> Result<(), Failure> {
        let mut launching = ctx.launching();
        for (launch, _) in launching.launched() {
            assert!(launching.kill(launch));
        }
        launching.remove_folder("a");
        launching.clean(&["b".to_owned()], Duration::from_secs(1));
        Ok(())
    }

    #[receive]
    fn changed(&mut self, _: &mut Context, notice: LaunchChanged) -> Result<(), Failure> {
        self.told.push((notice.launch, notice.change));
        Ok(())
    }
}

fn start(jobs: &mut TestEndpoint<Jobs>, name: &str) {
    let name = name.to_owned();
    jobs.send(&Start { name });
}

#[test]
fn a_launch_goes_on_until_its_end_is_told_and_nothing_is_told_after_it() {
    let mut jobs = TestEndpoint::<Jobs>::start();
    start(&mut jobs, "a");
    start(&mut jobs, "b");
    let launched = jobs.launches();
    assert!(jobs.launches().is_empty(), "taken");
    let [(a, what, token), (b, ..)] = launched.as_slice() else {
        panic!("{launched:?}");
    };
    assert_eq!((what, token), (&workload("a"), &"a".into()));
    let folder = "/work/a".to_owned();
    let running = LaunchChange::Running { folder };
    jobs.launch_changed(*a, running.clone());
    jobs.launch_changed(*a, LaunchChange::Killed);
    jobs.launch_changed(*a, running.clone());
    let told = jobs.with(|jobs| jobs.told.clone());
    assert_eq!(told, [(*a, running), (*a, LaunchChange::Killed)]);
    jobs.send(&EndAll {});
    assert_eq!(jobs.kills(), [*b]);
    assert_eq!(jobs.removed_folders(), ["a"]);
    let cleaned = (vec!["b".to_owned()], Duration::from_secs(1));
    assert_eq!(jobs.cleans(), [cleaned]);
}

#[test]
fn what_was_launched_goes_on_through_an_upgrade_and_a_restart() {
    let mut jobs = TestEndpoint::<Jobs>::start();
    start(&mut jobs, "a");
    let (a, ..) = jobs.launches().remove(0);
    let mut jobs = jobs.upgrade::<Jobs>().expect("the same code");
    jobs.restart();
    jobs.send(&EndAll {});
    assert_eq!(jobs.kills(), [a]);
}

#[test]
fn a_refusal_is_what_launching_fails_with() {
    let mut jobs = TestEndpoint::<Jobs>::start();
    let refusal = Failure::with_code(Failure::DENIED, "no work folder");
    jobs.refuse_launches(Some(refusal.clone()));
    start(&mut jobs, "a");
    assert_eq!(jobs.with(|jobs| jobs.refused.clone()), Some(refusal));
    assert!(jobs.launches().is_empty());
}
